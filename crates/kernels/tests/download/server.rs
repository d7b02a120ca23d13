//! A server that fails on purpose: each request gets the next line of its script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, as they are; then the connection ends.
    Raw(Vec<u8>),
    /// These bytes; then nothing more until the client gives up.
    ThenNothing(Vec<u8>),
    /// These bytes; then more, a byte every few milliseconds, until the client gives up.
    ThenTrickle(Vec<u8>),
    /// These bytes; then more as fast as it goes, until the client gives up.
    ThenFlood(Vec<u8>),
    /// The connection ends with a reset, before any answer.
    Reset,
    /// The file, as a good server gives it: with ranges, ETag and length.
    Good,
    /// A good server whose connection ends after so many bytes of the body.
    GoodUntil(usize),
    /// The same without an ETag.
    PlainUntil(usize),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A server on a port of its own; it ends when it is dropped.
pub struct Server {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    content: Vec<u8>,
    etag: String,
    script: Vec<Reply>,
    asked: Mutex<Vec<Asked>>,
    /// Requests now, and the most at a time.
    now: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicBool,
}

impl Server {
    /// Serves `content`; requests beyond the script get its last line.
    pub fn start(content: &[u8], script: &[Reply]) -> Server {
        Server::with_etag(content, "\"one\"", script)
    }

    pub fn with_etag(content: &[u8], etag: &str, script: &[Reply]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            content: content.to_owned(),
            etag: etag.to_owned(),
            script: script.to_owned(),
            asked: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || accept(&listener, &shared));
        Server { port, state, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    pub fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the one who waits for connections.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if state.ended.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            scope.spawn(move || {
                let now = state.now.fetch_add(1, Ordering::SeqCst) + 1;
                state.most.fetch_max(now, Ordering::SeqCst);
                // A client that gives up is part of most cases.
                let _ = serve(stream, state);
                state.now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let asked = read_request(&mut reader)?;
    let reply = {
        let mut all = state.asked.lock().unwrap();
        let reply = state.script[all.len().min(state.script.len() - 1)].clone();
        all.push(asked.clone());
        reply
    };
    match reply {
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::ThenNothing(bytes) => {
            stream.write_all(&bytes)?;
            wait_for_end(&mut reader)
        }
        Reply::ThenTrickle(bytes) => {
            stream.write_all(&bytes)?;
            stream.set_read_timeout(Some(Duration::from_millis(5)))?;
            loop {
                stream.write_all(b"x")?;
                match reader.read(&mut [0]) {
                    Ok(0) => return Ok(()),
                    _waited => {}
                }
            }
        }
        Reply::ThenFlood(bytes) => {
            stream.write_all(&bytes)?;
            loop {
                stream.write_all(&[b'x'; 1 << 16])?;
            }
        }
        Reply::Reset => reset(&stream),
        Reply::Good => good(&mut stream, &asked, state, None, true),
        Reply::GoodUntil(bytes) => good(&mut stream, &asked, state, Some(bytes), true),
        Reply::PlainUntil(bytes) => good(&mut stream, &asked, state, Some(bytes), false),
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => return Ok(Asked { path, headers }),
        }
    }
}

fn good(
    stream: &mut TcpStream,
    asked: &Asked,
    state: &State,
    until: Option<usize>,
    etag: bool,
) -> std::io::Result<()> {
    let all = &state.content;
    let fresh = asked.header("if-range").is_none_or(|known| known == state.etag);
    let range = asked.header("range").filter(|_| fresh && etag);
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let mut head = match from {
        Some(from) if from >= all.len() => {
            let head = format!("HTTP/1.1 416 no\r\nContent-Range: bytes */{}\r\n\r\n", all.len());
            return stream.write_all(head.as_bytes());
        }
        Some(from) => {
            format!("HTTP/1.1 206 part\r\nContent-Range: bytes {from}-{}/{}\r\n", all.len() - 1, all.len())
        }
        None => "HTTP/1.1 200 ok\r\n".to_owned(),
    };
    let body = &all[from.unwrap_or(0)..];
    head += &format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    if etag {
        head += &format!("ETag: {}\r\n", state.etag);
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&body[..until.unwrap_or(body.len()).min(body.len())])
}

fn wait_for_end(reader: &mut impl Read) -> std::io::Result<()> {
    while reader.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// Closing with a linger time of zero is a reset.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

/// An answer of a status line, headers and a body.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}
