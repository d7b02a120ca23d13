//! One request, and what its answer may be.

use std::error::Error as _;
use std::io::{ErrorKind, Read};
use std::time::{Instant, SystemTime};

use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, HeaderValue, IF_RANGE, RANGE};
use reqwest::redirect::{Attempt, Policy};

use super::answer;
use super::pace::{Pace, Progress};
use super::part::Part;
use super::problem::{BoxedProblem, DownloadProblem};
use super::{Settings, Wanted, Watch};

/// A client for all requests: TLS with the system's roots, proxies from the environment.
pub(super) fn client(settings: &Settings) -> Result<Client, String> {
    // Fails when one is there already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = settings.redirects;
    Client::builder()
        .user_agent(concat!("btfpipe/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect)
        // For a body that is read piece by piece: of each read.
        .timeout(settings.stall)
        .redirect(Policy::custom(move |attempt| follow(attempt, redirects)))
        .build()
        .map_err(|error| chain(&error))
}

/// Follows only so far, and never from https to http.
fn follow(attempt: Attempt<'_>, limit: usize) -> reqwest::redirect::Action {
    let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > limit {
        return attempt.error(format!("more than {limit} times"));
    }
    match attempt.url().scheme() {
        "https" => attempt.follow(),
        "http" if !from_tls => attempt.follow(),
        "http" => attempt.error("from https to http"),
        _ => attempt.error("to where nothing is fetched from"),
    }
}

/// Asks once, for the whole or the rest; what comes is added to the part.
pub(super) fn once(
    client: &Client,
    settings: &Settings,
    wanted: &Wanted,
    url: &str,
    part: &mut Part,
    watch: &dyn Watch,
) -> Result<(), BoxedProblem> {
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    let resume = part.resume(url).and_then(|(from, etag)| Some((from, HeaderValue::from_str(etag).ok()?)));
    if let Some((from, etag)) = &resume {
        request = request.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, etag);
    }
    let response = request.send().map_err(|error| no_answer(&error, settings))?;
    let total = begin(&response, resume.map(|(from, _)| from), wanted, url, part)?;
    let body = Body { response, total, settings, wanted };
    body.copy(part, watch)
}

/// Looks at status and headers, and prepares the part for what comes. The answer is the size of the whole.
fn begin(
    response: &Response,
    resumed: Option<u64>,
    wanted: &Wanted,
    url: &str,
    part: &mut Part,
) -> Result<Option<u64>, BoxedProblem> {
    let headers = response.headers();
    match (response.status().as_u16(), resumed) {
        (200, _) => {
            refuse_encoded(response)?;
            let total = answer::length(headers);
            check_size(total, wanted)?;
            part.restart(url, answer::strong_etag(headers))?;
            Ok(total)
        }
        (206, Some(from)) => {
            refuse_encoded(response)?;
            match answer::range(headers) {
                Some((start, total)) if start == from => {
                    check_size(total, wanted)?;
                    Ok(total)
                }
                _ => {
                    part.clear()?;
                    Err(nonsense("a part that was not asked for"))
                }
            }
        }
        (206, None) => Err(nonsense("a part, where the whole was asked for")),
        (416, Some(_)) => {
            part.clear()?;
            Err(DownloadProblem::Changed.into())
        }
        (status @ (408 | 425 | 429 | 500 | 502 | 503 | 504), _) => {
            let wait = answer::retry_after(headers, SystemTime::now());
            Err(DownloadProblem::Busy { status, wait }.into())
        }
        (status @ (404 | 410), _) => Err(DownloadProblem::Gone(status).into()),
        (status, _) => Err(DownloadProblem::Status(status).into()),
    }
}

/// Encoded bytes have another digest, and may unpack to anything.
fn refuse_encoded(response: &Response) -> Result<(), BoxedProblem> {
    answer::encoding(response.headers())
        .map_or(Ok(()), |encoding| Err(nonsense(&format!("{encoding}, where plain bytes were asked for"))))
}

fn check_size(total: Option<u64>, wanted: &Wanted) -> Result<(), BoxedProblem> {
    match (total, wanted.size()) {
        (Some(found), Some(size)) if found != size => {
            Err(DownloadProblem::Size { wanted: size, found }.into())
        }
        (Some(found), _) if found > wanted.limit => {
            Err(DownloadProblem::TooLarge { limit: wanted.limit }.into())
        }
        _ => Ok(()),
    }
}

/// What follows the headers.
struct Body<'a> {
    response: Response,
    total: Option<u64>,
    settings: &'a Settings,
    wanted: &'a Wanted,
}

impl Body<'_> {
    fn copy(mut self, part: &mut Part, watch: &dyn Watch) -> Result<(), BoxedProblem> {
        let mut pace = Pace::new(self.settings.slow, self.settings.slow_over);
        let mut buffer = vec![0; 128 << 10];
        // A byte more than what is promised shows that it is another file.
        let limit = self.wanted.size().unwrap_or(self.wanted.limit);
        loop {
            let got = match self.response.read(&mut buffer) {
                Ok(0) => return self.end(part),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(part.len(), &error)),
            };
            if part.len() + got as u64 > limit {
                part.clear()?;
                return Err(match self.wanted.size() {
                    Some(wanted) => DownloadProblem::Size { wanted, found: limit + 1 },
                    None => DownloadProblem::TooLarge { limit },
                }
                .into());
            }
            part.append(&buffer[..got])?;
            let now = Instant::now();
            if pace.is_slow(got as u64, now) {
                return Err(DownloadProblem::TooSlow { done: part.len(), limit: self.settings.slow }.into());
            }
            watch.moved(Progress { done: part.len(), total: self.total, rate: pace.rate(now) });
        }
    }

    /// A body that ends with its connection may have been cut.
    fn end(&self, part: &Part) -> Result<(), BoxedProblem> {
        match self.total.or(self.wanted.size()) {
            Some(total) if part.len() < total => Err(DownloadProblem::Broken {
                done: part.len(),
                cause: format!("{total} bytes were announced"),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn broken(&self, done: u64, error: &std::io::Error) -> BoxedProblem {
        let timed_out = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<reqwest::Error>())
            .is_some_and(reqwest::Error::is_timeout);
        if timed_out || error.kind() == ErrorKind::TimedOut {
            return DownloadProblem::Stalled { done, after: self.settings.stall }.into();
        }
        let cause = error
            .get_ref()
            .map_or_else(|| error.to_string(), |inner| chain(inner as &(dyn std::error::Error + 'static)));
        DownloadProblem::Broken { done, cause }.into()
    }
}

fn no_answer(error: &reqwest::Error, settings: &Settings) -> BoxedProblem {
    if error.is_redirect() {
        let cause = error.source().map_or_else(|| "wrongly".to_owned(), |cause| cause.to_string());
        return DownloadProblem::Redirect(cause).into();
    }
    if error.is_timeout() && !error.is_connect() {
        return DownloadProblem::Stalled { done: 0, after: settings.stall }.into();
    }
    if error.is_builder() {
        return DownloadProblem::Url(chain(error)).into();
    }
    DownloadProblem::NoAnswer(chain(error)).into()
}

fn nonsense(what: &str) -> BoxedProblem {
    DownloadProblem::Nonsense(what.to_owned()).into()
}

/// The innermost cause says most; the URL is named elsewhere.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
