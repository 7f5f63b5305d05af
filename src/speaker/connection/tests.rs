use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;

use super::*;

/// Both ends of a connection, of which the first sends and takes little into its socket.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    SockRef::from(&sender).set_send_buffer_size(4096).unwrap();
    (sender, listener.accept().await.unwrap().0)
}

async fn all(mut reader: TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut octets)).await.unwrap().unwrap();
    octets
}

#[tokio::test]
async fn small_pieces_fill_what_the_core_may_hand_out() {
    let (stream, _deaf) = pair().await;
    let (core, _events) = mpsc::channel(64);
    let handle = spawn(stream, core, |event| event);
    // Nobody takes what it tells either, so that it stands still after 64 of them.
    let piece = Bytes::from_static(&[0; 50]);
    for n in 0..256 * 1024 / piece.len() {
        assert!(handle.send(piece.clone()), "no room after {n} pieces");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_queued_is_written_whole_though_the_core_has_gone() {
    let (stream, reader) = pair().await;
    let (core, events) = mpsc::channel(1);
    let handle = spawn(stream, core, |event| event);
    assert!(handle.send(Bytes::from(vec![1; 256 << 10])));
    assert!(handle.send(Bytes::from_static(b"last words")));
    drop(events);
    let closed = handle.close();
    let octets = all(reader).await;
    assert_eq!(octets.len(), (256 << 10) + 10);
    assert!(octets.ends_with(b"last words"));
    closed.await.unwrap();
}
