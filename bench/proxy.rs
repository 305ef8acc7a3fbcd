//! A proxy that holds each request for a while, as a network over a distance does.

use std::{
    io::{Read, Write, copy},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// An address that leads to another one, each request so much later. Requests fit into one read.
pub(crate) fn start(endpoint: &str, delay: Duration) -> String {
    let to = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = to.clone();
            thread::spawn(move || pass(client, &to, delay));
        }
    });
    address
}

fn pass(mut client: TcpStream, to: &str, delay: Duration) -> Option<()> {
    let mut server = TcpStream::connect(to).ok()?;
    client.set_nodelay(true).ok()?;
    server.set_nodelay(true).ok()?;
    let (mut answers, mut back) = (server.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || copy(&mut answers, &mut back));
    let mut request = vec![0; 16 << 10];
    loop {
        let length = client.read(&mut request).ok().filter(|length| *length > 0)?;
        thread::sleep(delay);
        server.write_all(&request[..length]).ok()?;
    }
}
