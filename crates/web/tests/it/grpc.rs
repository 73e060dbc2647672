//! A service of tonic's in a guard, called by tonic's own client over HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{Request, Response};
use bytes::{Buf as _, BufMut as _};
use futures_util::stream;
use mainstay_web::{Guard, Work};
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

use crate::log;

const ORDER: &str = "/shop.Shop/Order";

/// Messages that are texts.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;
    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service, as generated code has it.
#[derive(Clone, Copy)]
struct Shop;

impl NamedService for Shop {
    const NAME: &'static str = "shop.Shop";
}

impl tower_service::Service<Request<Body>> for Shop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                ORDER => grpc.unary(Self, request).await,
                "/shop.Shop/Watch" => grpc.server_streaming(Self, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

impl UnaryService<String> for Shop {
    type Response = String;
    type Future = Boxed<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(async move { Ok(tonic::Response::new(order(request.into_inner()).await?)) })
    }
}

impl ServerStreamingService<String> for Shop {
    type Response = String;
    type ResponseStream = Pin<Box<dyn futures_util::Stream<Item = Result<String, Status>> + Send>>;
    type Future = Boxed<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let first = Ok(request.into_inner());
        let messages = stream::iter([first, Err(Status::data_loss("the rest is gone"))]);
        Box::pin(async {
            Ok(tonic::Response::new(
                Box::pin(messages) as Self::ResponseStream
            ))
        })
    }
}

/// Writes a row, and then does what is ordered.
async fn order(what: String) -> Result<String, Status> {
    let mut work =
        Work::<Sqlite>::current().map_err(|error| Status::internal(error.to_string()))?;
    let mut transaction = work
        .tx()
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    let row = sqlx::query("INSERT INTO orders VALUES (?)").bind(&what);
    row.execute(&mut *transaction)
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    drop(transaction);
    match what.as_str() {
        "nothing" => Err(Status::not_found("there is no such thing")),
        "panics" => panic!("in a call of gRPC"),
        "never" => std::future::pending().await,
        _ => Ok(format!("ordered: {what}")),
    }
}

async fn call(channel: &Channel, path: &'static str, what: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    let reply = client
        .unary(tonic::Request::new(what.to_owned()), path, Text)
        .await?;
    Ok(reply.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_tonic_is_guarded() {
    log::listen();
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("shop.db"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE orders (what TEXT)")
        .execute(&pool)
        .await
        .unwrap();
    let guard = Guard::builder()
        .database(pool.clone())
        // The others must be done by then on any machine.
        .deadline(Duration::from_secs(5))
        .start()
        .await
        .unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = Server::builder().layer(guard.layer()).add_service(Shop);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(socket)));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();

    assert_eq!(call(&channel, ORDER, "tea").await.unwrap(), "ordered: tea");
    for (name, path, what, code, words) in [
        (
            "the service's own error",
            ORDER,
            "nothing",
            Code::NotFound,
            Some("there is no such thing"),
        ),
        ("a panic", ORDER, "panics", Code::Internal, None),
        ("the deadline", ORDER, "never", Code::DeadlineExceeded, None),
        (
            "no such method",
            "/shop.Shop/Nothing",
            "x",
            Code::Unimplemented,
            Some("no such method"),
        ),
        (
            "no such service",
            "/shop.Other/Order",
            "x",
            Code::Unimplemented,
            None,
        ),
    ] {
        let status = call(&channel, path, what).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}: {status:?}");
        if let Some(words) = words {
            assert_eq!(status.message(), words, "{name}");
        }
        assert!(
            !status.message().contains("in a call"),
            "that is for the log: {status:?}"
        );
        let id = status
            .metadata()
            .get("x-fault-id")
            .unwrap_or_else(|| panic!("{name}: {status:?}"));
        let logged = log::lines_with(id.to_str().unwrap());
        assert_eq!(logged.len(), 1, "{name}: {logged:?}");
        assert!(
            logged[0].contains(&format!("POST http://{address}{path}")),
            "{name}: {logged:?}"
        );
    }
    guard.set_read_only(true);
    let status = call(&channel, ORDER, "coffee").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.metadata().get("retry-after").unwrap(), "60");
    guard.set_read_only(false);

    // The row of every call that failed is gone.
    let rows: Vec<String> = sqlx::query_scalar("SELECT what FROM orders")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(rows, ["tea"]);

    // What comes in the trailers arrives there, and is told.
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/shop.Shop/Watch");
    let request = tonic::Request::new("first".to_owned());
    let mut messages = client
        .server_streaming(request, path, Text)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(messages.message().await.unwrap().as_deref(), Some("first"));
    let status = messages.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DataLoss, "the rest is gone")
    );
    let told = log::lines_with("POST /shop.Shop/Watch answered grpc-status 15");
    assert_eq!(told.len(), 1, "{told:?}");
}
