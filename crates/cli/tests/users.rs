//! Turns `myriad users` into accounts: the first an administrator, passwords shown once.

mod common;

use common::Home;

#[test]
fn accounts_are_made_listed_and_locked_out() {
    let home = Home::new();
    assert!(home.run(&["users", "list"]).good().contains("There are no accounts"));
    let made = home.run(&["users", "create", "Anna"]);
    assert!(made.err.contains("not shown again") && made.err.contains("first account"));
    let password = made.good().trim().to_owned();
    assert_eq!(password.len(), 20, "{password}");
    let arguments = ["users", "create", "ben", "--password-stdin", "--display-name", "Ben B."];
    assert_eq!(home.run_with(&arguments, b"correct horse\n").good(), "");
    let list = home.run(&["users", "list"]).good();
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("anna").contains("admin") && line("ben").contains("user"), "{list}");
    assert!(line("ben").ends_with("Ben B.") && !list.contains(&password), "{list}");
    assert!(home.run(&["users", "create", "ANNA"]).bad().contains("is taken"));
    let last = home.run(&["users", "disable", "anna"]).bad();
    assert!(last.contains("last active administrator"), "{last}");
    assert!(home.run(&["users", "disable", "BEN"]).good().contains("locked out"));
    assert!(home.run(&["users", "list"]).good().contains("disabled"));
    home.run(&["users", "enable", "ben"]).good();
    let reset = home.run(&["users", "reset-password", "anna"]).good();
    assert!(reset.trim().len() == 20 && reset.trim() != password, "{reset}");
    // A key of an account belongs to it, whatever its id is.
    home.run(&["keys", "create", "laptop", "--owner", "Ben"]).good();
    assert!(home.run(&["keys", "list"]).good().contains("user_"));
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let home = Home::new();
    for name in ["", "two words", "a/b"] {
        assert!(home.run(&["users", "create", name]).bad().contains("the name cannot be taken"));
    }
    let short = ["users", "create", "anna", "--password-stdin"];
    assert!(home.run_with(&short, b"1234567\n").bad().contains("the password cannot be taken"));
    assert!(home.run(&["users", "reset-password", "anna"]).bad().contains("no account"));
    assert!(home.run(&["users", "list"]).good().contains("There are no accounts"));
}
