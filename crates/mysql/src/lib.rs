//! A client of `MySQL` and `MariaDB`: what a backup and a restore need of one, and no more.
//!
//! This crate hides the protocol between client and server: packets, logins, TLS, and the forms that
//! rows have. It blocks, starts no thread, and opens no file but those with certificates and keys that
//! it is told of.
//!
//! * A [`Connection`] takes one statement at a time. Its rows are read one at a time from the server,
//!   and a [`Row`]'s cells are read where they lie in the packet: nothing is copied.
//! * Rows of [`Connection::query`] are text. Those of a prepared statement ([`Connection::execute`])
//!   are binary: a `FLOAT` is exact in them, and a server spends less than half the time on them.
//! * [`Connection::load`] sends data of the caller's own by `LOAD DATA LOCAL INFILE`. A server cannot
//!   have any other file: none is ever opened for it.
//! * Methods of authentication: `mysql_native_password`, `caching_sha2_password`, `sha256_password`,
//!   `client_ed25519`, and `mysql_clear_password` where nobody can listen. A password itself goes
//!   over a unix socket, under TLS, or encrypted with the server's RSA key; that key is asked for only
//!   on this machine, unless [`ServerKey`] says otherwise.
//! * With [`Tls`] the server's certificate is checked, and there is no way back to a connection in
//!   clear.
//! * What a server may send is limited everywhere, because it may not be one; what it sent that is not
//!   the protocol closes the connection. Whatever it sends, nothing here panics.
//!
//! Missing: compression, `parsec` and GSSAPI, cursors, and the commands of replicas.
//!
//! ```no_run
//! use mainstay_mysql::{Cell, Connection, Endpoint, Options, Param};
//!
//! let options = Options::new(Endpoint::Unix("/run/mysqld/mysqld.sock".into()), "root");
//! let mut connection = Connection::open(&options)?;
//! println!("{}", connection.version());
//! let statement = connection.prepare("SELECT id, price FROM shop.articles WHERE id > ?")?;
//! let mut rows = connection.execute(&statement, &[Param::Int(100)])?;
//! while let Some(row) = rows.next()? {
//!     for cell in row.cells() {
//!         match cell? {
//!             Cell::Int(id) => println!("{id}"),
//!             Cell::Bytes(price) => println!("{}", String::from_utf8_lossy(price)),
//!             other => println!("{other:?}"),
//!         }
//!     }
//! }
//! # Ok::<(), mainstay_mysql::Error>(())
//! ```

mod auth;
mod channel;
mod connection;
mod error;
mod handshake;
mod row;
mod rsa;
mod stream;
mod version;
mod wire;

pub use auth::ServerKey;
pub use connection::{Connection, Options, Results, Statement};
pub use error::{Error, ErrorKind, ServerError};
pub use handshake::Done;
pub use mainstay_base::tls::{Check, Identity, Tls};
pub use row::{Cell, Cells, Column, ColumnType, DateTime, Param, Row, Time};
pub use stream::{Endpoint, Timeouts, Transport};
pub use version::{Flavour, Version};
