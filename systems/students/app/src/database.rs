//! Students in PostgreSQL.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{NoTls, Row};

use crate::{
    api::{NewStudent, Student},
    config::Config,
};

/// Waiting longer for a connection or an answer helps nobody: the caller gets a 503 and may try again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Steps from an empty database to the current schema; each runs once, in order. Only ever append.
const MIGRATIONS: &[&str] =
    &["CREATE TABLE student (id BIGSERIAL PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL)"];

/// Taken while migrating, so that replicas that start together do not run into each other. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x5374_7564;

/// A pool of connections that heals itself after the database was away.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Pool,
}

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the connection pool cannot be built")]
    Build(#[from] deadpool_postgres::BuildError),
    #[error("no connection to the database")]
    Connection(#[from] PoolError),
    #[error("the query failed")]
    Query(#[from] tokio_postgres::Error),
    #[error("the database did not answer within {TIMEOUT:?}")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

impl Database {
    pub(crate) fn new(config: &Config) -> Result<Self, DatabaseError> {
        let mut postgres = tokio_postgres::Config::new();
        postgres
            .host(&config.db_host)
            .port(config.db_port)
            .dbname(&config.db_name)
            .user(&config.db_user)
            .password(&config.db_password)
            .application_name("students")
            .connect_timeout(TIMEOUT)
            .keepalives_idle(Duration::from_secs(10));
        let manager = Manager::from_config(postgres, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let timeouts = Timeouts { wait: Some(TIMEOUT), create: Some(TIMEOUT), recycle: Some(TIMEOUT) };
        let pool = Pool::builder(manager).max_size(8).timeouts(timeouts).runtime(Runtime::Tokio1).build()?;
        Ok(Self { pool })
    }

    /// Creates or updates the schema as soon as the database lets us.
    pub(crate) async fn migrate_with_retries(self) {
        let mut delay = Duration::from_millis(200);
        while let Err(error) = self.migrate().await {
            tracing::warn!(error = %full(&error), "the database is not ready, next try in {delay:?}");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(TIMEOUT);
        }
        tracing::info!("the schema is current");
    }

    async fn migrate(&self) -> Result<(), DatabaseError> {
        let mut connection = self.pool.get().await?;
        let transaction = connection.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
        transaction.batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)").await?;
        let row = transaction.query_one("SELECT COALESCE(MAX(version), 0) FROM schema_version", &[]).await?;
        let current = usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
        for (step, statement) in MIGRATIONS.iter().enumerate().skip(current) {
            transaction.batch_execute(statement).await?;
            let version = i32::try_from(step + 1).unwrap_or(i32::MAX);
            transaction.execute("INSERT INTO schema_version VALUES ($1)", &[&version]).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Fails unless the schema is there.
    pub(crate) async fn ping(&self) -> Result<(), DatabaseError> {
        self.query("SELECT 1 FROM student LIMIT 1", &[]).await.map(drop)
    }

    pub(crate) async fn list(&self) -> Result<Vec<Student>, DatabaseError> {
        let rows = self.query("SELECT id, name, age FROM student ORDER BY id", &[]).await?;
        Ok(rows.iter().map(student).collect())
    }

    pub(crate) async fn get(&self, id: i64) -> Result<Option<Student>, DatabaseError> {
        let rows = self.query("SELECT id, name, age FROM student WHERE id = $1", &[&id]).await?;
        Ok(rows.first().map(student))
    }

    pub(crate) async fn create(&self, new: &NewStudent) -> Result<Student, DatabaseError> {
        let statement = "INSERT INTO student (name, age) VALUES ($1, $2) RETURNING id";
        let connection = self.pool.get().await?;
        let statement = tokio::time::timeout(TIMEOUT, connection.prepare_cached(statement)).await??;
        let row = tokio::time::timeout(TIMEOUT, connection.query_one(&statement, &[&new.name, &new.age])).await??;
        Ok(Student { id: row.get(0), name: new.name.clone(), age: new.age })
    }

    /// Whether there was such a student.
    pub(crate) async fn delete(&self, id: i64) -> Result<bool, DatabaseError> {
        Ok(!self.query("DELETE FROM student WHERE id = $1 RETURNING id", &[&id]).await?.is_empty())
    }

    async fn query(
        &self,
        statement: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = self.pool.get().await?;
        let statement = tokio::time::timeout(TIMEOUT, connection.prepare_cached(statement)).await??;
        Ok(tokio::time::timeout(TIMEOUT, connection.query(&statement, parameters)).await??)
    }
}

fn student(row: &Row) -> Student {
    Student { id: row.get(0), name: row.get(1), age: row.get(2) }
}

/// The error with its sources, for logs.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", full(source)),
        None => error.to_string(),
    }
}
