//! Turns a database of any earlier layout into one of the newest: forward only.

use sqlx::{AnyConnection, Connection, Executor};

use crate::errors::StoreError;

/// Statements that lead to a layout from the one before it.
struct Layout {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Layout {
    /// Statements that both databases understand.
    const fn of_both(statements: &'static str) -> Layout {
        Layout { sqlite: statements, postgres: statements }
    }
}

/// The layouts in order. What was released is never changed: whatever comes later is a new entry.
const LAYOUTS: &[Layout] = &[
    Layout::of_both(include_str!("migrations/1.sql")),
    Layout::of_both(include_str!("migrations/2.sql")),
    Layout::of_both(include_str!("migrations/3.sql")),
    Layout {
        sqlite: include_str!("migrations/4.sqlite.sql"),
        postgres: include_str!("migrations/4.postgres.sql"),
    },
    Layout::of_both(include_str!("migrations/5.sql")),
];

/// Any number will do, as long as all programs that share the database take the same.
const ADVISORY_LOCK: i64 = 0x6d79_7269_6164;

/// Brings the database to the newest layout.
pub async fn run(connection: &mut AnyConnection) -> Result<(), StoreError> {
    run_layouts(connection, LAYOUTS).await
}

async fn run_layouts(
    connection: &mut AnyConnection,
    layouts: &'static [Layout],
) -> Result<(), StoreError> {
    // Two programs may start at the same time on an empty database.
    let sqlite = connection.backend_name() == "SQLite";
    let mut transaction =
        connection.begin_with(if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
    if !sqlite {
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ADVISORY_LOCK);
        lock.execute(&mut *transaction).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS layouts (number BIGINT PRIMARY KEY)";
    transaction.execute(table).await?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT MAX(number) FROM layouts").fetch_one(&mut *transaction).await?;
    let (found, known) = (found.unwrap_or(0), layouts.len() as i64);
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (number, layout) in (1..).zip(layouts).skip(found as usize) {
        transaction.execute(if sqlite { layout.sqlite } else { layout.postgres }).await?;
        let done = sqlx::query("INSERT INTO layouts (number) VALUES ($1)").bind(number);
        done.execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[Layout] = &[Layout::of_both("CREATE TABLE one (id BIGINT)")];
    const BOTH: &[Layout] = &[
        Layout::of_both("CREATE TABLE one (id BIGINT)"),
        Layout::of_both("ALTER TABLE one ADD COLUMN name TEXT"),
    ];

    #[tokio::test]
    async fn layouts_go_forward_once_and_never_back() {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect("sqlite::memory:").await.unwrap();
        run_layouts(&mut connection, FIRST).await.unwrap();
        sqlx::raw_sql("INSERT INTO one (id) VALUES (7)").execute(&mut connection).await.unwrap();
        run_layouts(&mut connection, BOTH).await.unwrap();
        run_layouts(&mut connection, BOTH).await.unwrap();
        let kept: i64 = sqlx::query_scalar("SELECT id FROM one WHERE name IS NULL")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(kept, 7);
        let error = run_layouts(&mut connection, FIRST).await.unwrap_err();
        assert!(matches!(error, StoreError::TooNew { found: 2, known: 1 }), "{error}");
    }
}
