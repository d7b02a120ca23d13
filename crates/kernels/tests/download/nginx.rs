//! The same from nginx, which many mirrors run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernels::Digest;
use kernels::download::{Downloader, Pin, Settings, Unwatched, Wanted};

use crate::{Heard, Place, find_program, of, settings};

/// nginx on a port of its own, serving a folder; it ends when it is dropped.
struct Nginx {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(program: &Path, files: &[(&str, &[u8])], more: impl Fn(&Path, u16) -> String) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        for (name, content) in files {
            std::fs::write(root.join(name), content).unwrap();
        }
        // Free now; nobody else is given it while the listener's address is fresh.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, config_text(folder.path(), &more(folder.path(), port))).unwrap();
        let process = Command::new(program)
            .args(["-p", folder.path().to_str().unwrap(), "-c", config.to_str().unwrap(), "-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Nginx { process, port, _folder: folder };
        nginx.wait();
        nginx
    }

    /// Until it answers.
    fn wait(&self) {
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nginx does not answer");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config_text(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
            uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
            gzip on; gzip_min_length 1; gzip_types *;
            limit_req_zone $server_name zone=all:1m rate=1r/s;
            server {{
                {more}
                root {folder}/root;
                location /moved/ {{ return 302 /plain; }}
                location /loop {{ return 302 /loop; }}
                location /busy {{ limit_req zone=all; limit_req_status 429; try_files /plain =404; }}
                location /slow {{ limit_rate 20k; try_files /plain =404; }}
            }}
        }}"
    )
}

fn listen(_: &Path, port: u16) -> String {
    format!("listen 127.0.0.1:{port};")
}

/// A certificate that nobody signed is refused; with it among the system's roots, it is good.
#[test]
fn certificates_are_checked() {
    let (Some(program), Some(openssl)) = (find_program("nginx"), find_program("openssl")) else {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "nginx or openssl is not installed");
        return eprintln!("skipped: nginx or openssl is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let paths = ["key.pem", "cert.pem"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let [key, certificate] = &paths;
    let made = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", key, "-out", certificate])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let names: Vec<String> = (0..40).map(|index| index.to_string()).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"content"[..])).collect();
    let nginx = Nginx::start(&program, &files, |_, port| {
        format!("listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};")
    });
    let url = format!("https://127.0.0.1:{}", nginx.port);
    let place = Place::new();
    let error = place.fetch(settings(), &of(b"content", vec![format!("{url}/0")])).unwrap_err().to_string();
    assert!(error.contains("no answer: invalid peer certificate"), "{error}");
    place.is_clean(&[]);
    let store = folder.path().join("store");
    let trusting = |certificate: &str| {
        let mut command = crate::killed::command(&store, &url);
        command.env("SSL_CERT_FILE", certificate).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(trusting(certificate));
    assert!(kernels::Store::open(&store).unwrap().contains(&Digest::of(b"content")));
}

#[test]
fn from_nginx() {
    let Some(program) = find_program("nginx") else {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "nginx is not installed");
        eprintln!("skipped: nginx is not installed (apt-get install nginx-light)");
        return;
    };
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let nginx = Nginx::start(&program, &[("plain", &content), ("empty", b"")], listen);
    let fetch = |settings: Settings, path: &str| {
        let place = Place::new();
        let found = place.fetch(settings, &of(&content, vec![nginx.url(path)]));
        let kept: Vec<&[u8]> = found.iter().map(|_| &content[..]).collect();
        place.is_clean(&kept);
        found.map(|found| found.size).map_err(|error| error.to_string())
    };
    assert_eq!(fetch(settings(), "plain"), Ok(400_000));
    assert_eq!(fetch(settings(), "moved/x"), Ok(400_000));
    assert!(fetch(settings(), "loop").unwrap_err().contains("redirected more than 3 times"));
    assert!(fetch(settings(), "nothing").unwrap_err().contains("404"));
    assert!(fetch(settings(), "empty").unwrap_err().contains("0 bytes, where 400000"));
    // At 20 kB a second it takes 20 s: given up for being slow, and continued each time, until it has had enough.
    let slow = Settings {
        stall: Duration::from_secs(20),
        slow: 1 << 20,
        slow_over: Duration::from_millis(300),
        attempts: 3,
        ..settings()
    };
    let error = fetch(slow, "slow").unwrap_err();
    assert!(error.contains("bytes a second"), "{error}");
    // One a second is let through, the others get 429 without Retry-After.
    let waits = Settings { backoff: Duration::from_millis(600), pause: std::thread::sleep, ..settings() };
    assert_eq!(fetch(waits.clone(), "busy"), Ok(400_000));
    assert_eq!(fetch(waits, "busy"), Ok(400_000));
    resumes(&nginx, &content);
    many(&nginx, &content);
}

/// The beginning comes through something that cuts; the rest is asked for with nginx's own ETag.
fn resumes(nginx: &Nginx, content: &[u8]) {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/plain", listener.local_addr().unwrap().port());
    let heard = Heard::default();
    let asked = std::thread::scope(|scope| {
        let between =
            scope.spawn(|| [cut(&listener, nginx.port, 100_000), cut(&listener, nginx.port, 1 << 30)]);
        Downloader::new(&place.store, settings()).fetch(&of(content, vec![url]), &heard).unwrap();
        between.join().unwrap()
    });
    assert!(!asked[0].contains("range:"), "{}", asked[0]);
    assert!(asked[1].contains("range: bytes=") && asked[1].contains("if-range: \""), "{}", asked[1]);
    assert_eq!(heard.retried.lock().unwrap().len(), 1);
    place.is_clean(&[content]);
}

/// Passes one connection on, and so many bytes of its answer; gives the request.
fn cut(listener: &TcpListener, port: u16, bytes: u64) -> String {
    let (mut client, _) = listener.accept().unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut request = String::new();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    while !request.ends_with("\r\n\r\n") {
        reader.read_line(&mut request).unwrap();
    }
    let close = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(close.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.take(bytes).read_to_end(&mut answer).unwrap();
    let _ = client.write_all(&answer);
    request.to_lowercase()
}

fn many(nginx: &Nginx, content: &[u8]) {
    let place = Place::new();
    let wanted: Vec<Wanted> = (0..200)
        .map(|index| Wanted {
            urls: vec![nginx.url(&format!("plain?{index}"))],
            pin: Pin::Name(format!("plain {index}")),
            limit: 1 << 20,
        })
        .collect();
    let downloader = Downloader::new(&place.store, settings());
    downloader.fetch_all(&wanted, 8, &Unwatched, &|_, found| {
        assert_eq!(found.unwrap().sha256, Digest::of(content));
    });
    place.is_clean(&[content]);
}
