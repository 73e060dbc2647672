//! What the shop keeps in its database: products and feedback.
//!
//! The database is `SQLite`, `MySQL` (or `MariaDB`) or `PostgreSQL`. Handlers are generic by it, and
//! [`Store`] is all that they need of it. Statements are written once: sqlx's [`QueryBuilder`] puts
//! in the placeholders of each database, and a macro stands where the compiler wants to see types.

use mainstay_journal::{Journal, MySqlStore, PgStore, SqliteStore};
use mainstay_web::Database;
use sqlx::{Connection, MySql, Pool, Postgres, QueryBuilder, Result, Sqlite};

/// Something that is sold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Product {
    pub(crate) id: i64,
    /// Names the drawing.
    pub(crate) slug: String,
    pub(crate) name: String,
    /// In cents.
    pub(crate) price: i64,
    pub(crate) summary: String,
    pub(crate) story: String,
}

/// What a visitor wrote, checked but not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The product it is about; none: the shop as a whole.
    pub(crate) product: Option<i64>,
    pub(crate) name: String,
    /// Where thanks go to. The partner keeps it, the shop does not.
    pub(crate) mail: Option<String>,
    /// 1 to 5.
    pub(crate) rating: i64,
    pub(crate) message: String,
}

/// Stored feedback.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feedback {
    pub(crate) id: i64,
    /// Id and name of the product it is about.
    pub(crate) product: Option<(i64, String)>,
    pub(crate) name: String,
    pub(crate) rating: i64,
    pub(crate) message: String,
    /// RFC 3339, UTC, whole seconds.
    pub(crate) at: String,
    /// What the partner calls its record of it.
    pub(crate) reference: String,
}

/// What to connect to.
pub(crate) type Options<D> = <<D as sqlx::Database>::Connection as Connection>::Options;

type ProductRow = (i64, String, String, i64, String, String);
type FeedbackRow = (
    i64,
    Option<i64>,
    Option<String>,
    String,
    i64,
    String,
    String,
    String,
);

/// What the shop wants of its database.
pub(crate) trait Store: Database {
    /// Makes the tables and, if there is no product, the seeds.
    fn prepare(pool: &Pool<Self>) -> impl Future<Output = Result<()>> + Send;
    /// Asks a question that can only be answered when all is well.
    fn check(pool: &Pool<Self>) -> impl Future<Output = Result<()>> + Send;
    /// All products in the order of their ids.
    fn products(pool: &Pool<Self>) -> impl Future<Output = Result<Vec<Product>>> + Send;
    /// One product, if there is such an id.
    fn product(pool: &Pool<Self>, id: i64) -> impl Future<Output = Result<Option<Product>>> + Send;
    /// The newest feedback, newest first: about one product, or all of it.
    fn feedback(
        pool: &Pool<Self>,
        about: Option<i64>,
    ) -> impl Future<Output = Result<Vec<Feedback>>> + Send;
    /// Stores what a visitor wrote, in the transaction of this connection.
    fn add(
        connection: &mut Self::Connection,
        draft: &Draft,
        reference: &str,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Begins the journal, in the same database.
    fn journal(
        pool: Pool<Self>,
    ) -> impl Future<
        Output = std::result::Result<mainstay_journal::Builder, mainstay_journal::Error>,
    > + Send;
    /// Gives a guard the database of its requests' transactions.
    fn in_guard(guard: mainstay_web::Builder, pool: Pool<Self>) -> mainstay_web::Builder;
}

macro_rules! store {
    ($database:ty, $journal:ty, $schema:literal) => {
        impl Store for $database {
            async fn prepare(pool: &Pool<Self>) -> Result<()> {
                sqlx::raw_sql(include_str!($schema)).execute(pool).await?;
                if !Self::products(pool).await?.is_empty() {
                    return Ok(());
                }
                let mut transaction = pool.begin().await?;
                let seeds = sqlx::raw_sql(include_str!("../assets/seed.sql"));
                match seeds.execute(&mut *transaction).await {
                    Ok(_) => transaction.commit().await,
                    // Another shop that was started at once was faster.
                    Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                        transaction.rollback().await
                    }
                    Err(error) => Err(error),
                }
            }

            async fn check(pool: &Pool<Self>) -> Result<()> {
                let mut query = QueryBuilder::<Self>::new("SELECT count(*) FROM product");
                let _: i64 = query.build_query_scalar().fetch_one(pool).await?;
                Ok(())
            }

            async fn products(pool: &Pool<Self>) -> Result<Vec<Product>> {
                let mut query = QueryBuilder::<Self>::new(
                    "SELECT id, slug, name, price, summary, story FROM product ORDER BY id",
                );
                let rows: Vec<ProductRow> = query.build_query_as().fetch_all(pool).await?;
                Ok(rows.into_iter().map(product).collect())
            }

            async fn product(pool: &Pool<Self>, id: i64) -> Result<Option<Product>> {
                let mut query = QueryBuilder::<Self>::new(
                    "SELECT id, slug, name, price, summary, story FROM product WHERE id = ",
                );
                query.push_bind(id);
                let row: Option<ProductRow> = query.build_query_as().fetch_optional(pool).await?;
                Ok(row.map(product))
            }

            async fn feedback(pool: &Pool<Self>, about: Option<i64>) -> Result<Vec<Feedback>> {
                let mut query = QueryBuilder::<Self>::new(
                    "SELECT f.id, f.product, p.name, f.name, f.rating, f.message, f.at, f.reference \
                     FROM feedback f LEFT JOIN product p ON p.id = f.product",
                );
                if let Some(about) = about {
                    query.push(" WHERE f.product = ").push_bind(about);
                }
                query.push(" ORDER BY f.id DESC LIMIT 200");
                let rows: Vec<FeedbackRow> = query.build_query_as().fetch_all(pool).await?;
                Ok(rows.into_iter().map(feedback).collect())
            }

            async fn add(
                connection: &mut Self::Connection,
                draft: &Draft,
                reference: &str,
            ) -> Result<()> {
                let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
                let mut query = QueryBuilder::<Self>::new(
                    "INSERT INTO feedback (product, name, rating, message, at, reference) VALUES (",
                );
                query
                    .separated(", ")
                    .push_bind(draft.product)
                    .push_bind(&draft.name)
                    .push_bind(draft.rating)
                    .push_bind(&draft.message)
                    .push_bind(at.to_string())
                    .push_bind(reference);
                query.push(")").build().execute(connection).await?;
                Ok(())
            }

            async fn journal(
                pool: Pool<Self>,
            ) -> std::result::Result<mainstay_journal::Builder, mainstay_journal::Error> {
                Ok(Journal::with(<$journal>::open(pool).await?))
            }

            fn in_guard(guard: mainstay_web::Builder, pool: Pool<Self>) -> mainstay_web::Builder {
                guard.database(pool)
            }
        }
    };
}

store!(Sqlite, SqliteStore, "../assets/schema.sql");
store!(MySql, MySqlStore, "../assets/schema-mysql.sql");
store!(Postgres, PgStore, "../assets/schema-postgres.sql");

fn product((id, slug, name, price, summary, story): ProductRow) -> Product {
    Product {
        id,
        slug,
        name,
        price,
        summary,
        story,
    }
}

fn feedback(row: FeedbackRow) -> Feedback {
    let (id, product, product_name, name, rating, message, at, reference) = row;
    Feedback {
        id,
        product: product.zip(product_name),
        name,
        rating,
        message,
        at,
        reference,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

    use super::{Draft, Sqlite, Store};

    async fn open(directory: &std::path::Path) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("shop.db"))
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        Sqlite::prepare(&pool).await.unwrap();
        pool
    }

    fn draft(product: Option<i64>) -> Draft {
        Draft {
            product,
            name: "Ada".into(),
            mail: None,
            rating: 4,
            message: "'; DROP TABLE feedback; --".into(),
        }
    }

    #[tokio::test]
    async fn seeds_once_and_only_when_empty() {
        let dir = tempfile::tempdir().unwrap();
        let pool = open(dir.path()).await;
        assert_eq!(Sqlite::products(&pool).await.unwrap().len(), 8);
        let seeded = Sqlite::feedback(&pool, None).await.unwrap().len();
        let mut connection = pool.acquire().await.unwrap();
        Sqlite::add(&mut connection, &draft(None), "P-1")
            .await
            .unwrap();
        drop(connection);
        pool.close().await;
        let again = open(dir.path()).await;
        assert_eq!(Sqlite::products(&again).await.unwrap().len(), 8);
        let kept = Sqlite::feedback(&again, None).await.unwrap().len();
        assert_eq!(kept, seeded + 1);
    }

    #[tokio::test]
    async fn feedback_is_stored_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let pool = open(dir.path()).await;
        let mut connection = pool.acquire().await.unwrap();
        Sqlite::add(&mut connection, &draft(Some(3)), "P-7")
            .await
            .unwrap();
        let newest = Sqlite::feedback(&pool, Some(3)).await.unwrap().remove(0);
        assert_eq!(newest.product, Some((3, "Pocket compass".into())));
        assert_eq!(newest.message, "'; DROP TABLE feedback; --");
        assert_eq!((newest.rating, newest.reference.as_str()), (4, "P-7"));
        let other = Sqlite::feedback(&pool, Some(4)).await.unwrap();
        assert!(other.iter().all(|feedback| feedback.id != newest.id));
    }

    #[tokio::test]
    async fn feedback_about_an_unknown_product_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let pool = open(dir.path()).await;
        assert_eq!(Sqlite::product(&pool, 99).await.unwrap(), None);
        let mut connection = pool.acquire().await.unwrap();
        let stored = Sqlite::add(&mut connection, &draft(Some(99)), "P-1").await;
        assert!(stored.is_err(), "a reference that leads to nothing");
    }
}
