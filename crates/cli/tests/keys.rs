//! Turns `myriad keys` into keys that open, lists that do not tell them, and revoked ones.

mod common;

use common::Home;

#[test]
fn a_key_is_shown_once_listed_and_revoked() {
    let home = Home::new();
    assert!(home.run(&["keys", "list"]).good().contains("There are no keys"));
    let made = home.run(&["keys", "create", "laptop", "--days", "7"]);
    assert!(made.err.contains("not shown again") && made.err.contains("keys revoke key_"));
    let key = made.good().trim().to_owned();
    assert!(key.starts_with("sk-myriad-") && key.len() == 50, "{key}");
    home.run(&["keys", "create", "shop", "--owner", "a shop"]).good();
    let list = home.run(&["keys", "list"]).good();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    let line = |name: &str| *lines.iter().find(|line| line.contains(name)).unwrap();
    assert!(line("laptop").contains("valid until"), "{list}");
    assert!(line("a shop").ends_with("valid"), "{list}");
    assert!(!list.contains(&key[14..]), "what opens is in no list");
    let id = line("laptop").split_whitespace().next().unwrap();
    assert!(home.run(&["keys", "revoke", id]).good().contains("is revoked"));
    assert!(home.run(&["keys", "revoke", id]).bad().contains("no valid key"));
    assert!(home.run(&["keys", "list"]).good().contains("revoked 20"));
}

#[test]
fn strange_names_and_places_are_refused() {
    let home = Home::new();
    for name in ["", "two\nlines", &"x".repeat(65)] {
        assert!(home.run(&["keys", "create", name]).bad().contains("cannot be"));
    }
    let error = home.run(&["keys", "list", "--store", "mysql://me:secret@host/db"]).bad();
    assert!(error.contains("no address of a store") && !error.contains("secret"), "{error}");
    std::fs::write(home.path().join("file"), "").unwrap();
    let error = home.run(&["keys", "list", "--data", "file"]).bad();
    assert!(error.contains("file"), "{error}");
    std::fs::create_dir(home.path().join("place")).unwrap();
    std::fs::write(home.path().join("place/key-secret"), "short").unwrap();
    let error = home.run(&["keys", "list", "--data", "place"]).bad();
    assert!(error.contains("64 hexadecimal digits"), "{error}");
}
