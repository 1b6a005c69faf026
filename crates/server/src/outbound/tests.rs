//! Turns servers that misbehave into the errors that say how.

use std::net::SocketAddr;

use axum::http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Patience =
    Patience { first_byte: Duration::from_millis(300), idle: Duration::from_millis(200) };

/// A server that reads a head, sends these pieces with pauses of 20 ms, and then, if it is told to
/// stay, keeps the connection open.
async fn server(pieces: Vec<Vec<u8>>, stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, pieces.clone(), stays));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, pieces: Vec<Vec<u8>>, stays: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    for piece in pieces {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if stays {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

async fn send(scheme: &str, address: SocketAddr) -> Result<Answer, OutboundError> {
    let target = Address::parse(&format!("{scheme}://{address}")).unwrap().join("/x").unwrap();
    let request = Request::builder().method(Method::GET).uri(target).body(Bytes::new()).unwrap();
    Outbound::default().send(request, PATIENCE).await
}

async fn answer(pieces: &[&str], stays: bool) -> Result<Answer, OutboundError> {
    let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    send("http", server(pieces, stays).await).await
}

async fn body(pieces: &[&str], stays: bool) -> Result<Bytes, OutboundError> {
    answer(pieces, stays).await.expect("a head").whole(16).await
}

#[tokio::test]
async fn a_whole_answer_comes_with_status_type_and_body() {
    let head = "HTTP/1.1 418 I'm a teapot\r\nContent-Type: Text/Plain; a=b\r\n";
    let answer = answer(&[head, "content-length: 4\r\n\r\n", "te", "st"], false).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.content_type()), (418, "text/plain".into()));
    assert_eq!(answer.whole(4).await.unwrap(), "test");
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_that_says_so() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
    let found = answer(&[redirect], false).await.unwrap_err();
    assert_eq!(found, OutboundError::Redirect(StatusCode::FOUND));
    let zipped = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
    let found = answer(&[zipped], false).await.unwrap_err();
    assert_eq!(found, OutboundError::Encoded("gzip".into()));
    let found = answer(&[], true).await.unwrap_err();
    assert_eq!(found, OutboundError::FirstByte(PATIENCE.first_byte));
    assert!(!found.before_answer(), "it may be at work");
    for garbage in [&[][..], &["SSH-2.0-OpenSSH\r\n\r\n"], &["HTTP/1.1 20"]] {
        let found = answer(garbage, false).await.unwrap_err();
        assert!(matches!(&found, OutboundError::Head(_)), "{garbage:?}: {found}");
    }
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "a".repeat(4 * HEAD_BYTES_MAX));
    assert!(matches!(answer(&[&long], false).await, Err(OutboundError::Head(_))));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    assert!(matches!(answer(&[&many], false).await, Err(OutboundError::Head(_))));
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_silence() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n";
    let found = body(&[HEAD, "12345678901234567"], false).await;
    assert_eq!(found, Err(OutboundError::TooLarge(16)));
    let found = body(&[HEAD, "1234"], true).await;
    assert_eq!(found, Err(OutboundError::Idle(PATIENCE.idle)));
    let found = body(&[HEAD, "1234"], false).await;
    assert!(matches!(&found, Err(OutboundError::Broken(_))), "{found:?}");
    let endless = "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(body(&[endless, "12345678", "12345678"], false).await.unwrap().len(), 16);
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_no_connection() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let found = send("http", free).await.unwrap_err();
    assert!(matches!(&found, OutboundError::Connect(reason) if reason.contains("refused")));
    assert!(found.before_answer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let found = send("https", address).await.unwrap_err();
    assert!(matches!(&found, OutboundError::Connect(_)), "{found}");
}
