//! `Prefer: wait=N` (RFC 7240). A preference that is not understood is ignored, as that standard wants it; it is never an error.
//! How long a wait may be is the settings' to say. Read [`super`] for what is answered.

use std::time::Duration;

use axum::http::HeaderMap;

/// How long the caller would wait for the job's end. The first `wait` counts.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let lists = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds = lists.flat_map(|list| list.split(',')).find_map(seconds)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn seconds(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    let value = value.trim().trim_matches('"');
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // More seconds than fit are as many as there are.
    (name.trim().eq_ignore_ascii_case("wait") && digits).then(|| value.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> Option<u64> {
        let headers = values.iter().map(|value| ("prefer".parse().unwrap(), value.parse().unwrap())).collect();
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        for values in [&["wait=5"][..], &["respond-async, wait=5"], &["a=b", "Wait = \"5\"; x=y"], &["wait=5, wait=9"]]
        {
            assert_eq!(asked(values), Some(5), "{values:?}");
        }
        assert_eq!(asked(&["wait=99999999999999999999"]), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for odd in ["", "wait", "wait=", "wait=-1", "wait=0", "wait=1.5", "wait=x", "await=5", "respond-async"] {
            assert_eq!(asked(&[odd]), None, "{odd}");
        }
    }
}
