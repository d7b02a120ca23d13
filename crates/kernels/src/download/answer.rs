//! The headers of an answer that matter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, RETRY_AFTER,
};

/// An ETag that promises the same bytes; weak ones (`W/"…"`) don't.
pub(super) fn strong_etag(headers: &HeaderMap) -> Option<&str> {
    let etag = text(headers, ETAG)?;
    (etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"')).then_some(etag)
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_LENGTH)?.parse().ok()
}

/// An encoding of the body that was not asked for.
pub(super) fn encoding(headers: &HeaderMap) -> Option<&str> {
    text(headers, CONTENT_ENCODING).filter(|encoding| !encoding.is_empty() && *encoding != "identity")
}

/// `bytes 100-199/200`: where the part starts, and the size of the whole where it is told.
pub(super) fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    // What ends before the end of the file is not what was asked for.
    (start <= end && total.is_none_or(|total: u64| end + 1 == total)).then_some((start, total))
}

/// Seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = UNIX_EPOCH + Duration::from_secs(parse_date(value)?);
    Some(then.duration_since(now).unwrap_or_default())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970 (RFC 9110, IMF-fixdate; the two older forms are not sent).
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, date) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next().filter(|name| name.len() == 3).and_then(|name| MONTHS.find(name))? as u64 / 3;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let mut next = || clock.next()?.ok();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    let in_range = hours < 24 && minutes < 60 && seconds <= 60 && words.next().is_none();
    in_range.then(|| ((days(year, month + 1, day) * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Days from 1970-01-01; years are counted from March, so that the leap day is the last one.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn etags() {
        let check = |value: &str, wanted: Option<&str>| {
            assert_eq!(strong_etag(&headers(ETAG, value)), wanted, "{value}");
        };
        check("\"a-1\"", Some("\"a-1\""));
        check("W/\"a\"", None);
        check("a", None);
        check("\"\"", None);
        assert_eq!(strong_etag(&HeaderMap::new()), None);
    }

    #[test]
    fn ranges() {
        let check = |value: &str, wanted: Option<(u64, Option<u64>)>| {
            assert_eq!(range(&headers(CONTENT_RANGE, value)), wanted, "{value}");
        };
        check("bytes 100-199/200", Some((100, Some(200))));
        check("bytes 100-199/*", Some((100, None)));
        check("bytes 100-150/200", None);
        check("bytes 199-100/200", None);
        check("bytes */200", None);
        check("lines 1-2/3", None);
        check("bytes 1-2", None);
    }

    #[test]
    fn retry_after_seconds_or_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |value: &str, wanted: Option<u64>| {
            let found = retry_after(&headers(RETRY_AFTER, value), now);
            assert_eq!(found.map(|wait| wait.as_secs()), wanted, "{value}");
        };
        check("120", Some(120));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400 - 784_111_777));
        for wrong in
            ["soon", "-1", "Sun, 06 Nov 1994 08:49:37", "Sun, 99 Nov 1994 08:49:37 GMT", "a, b c d GMT"]
        {
            check(wrong, None);
        }
    }
}
