//! Bodies of several parts, as forms with a file are sent.

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

/// The most parts of a form: more than any form has.
const PARTS_MAX: usize = 64;

/// A field of a form.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) filename: Option<String>,
    pub(super) content: Bytes,
}

/// What parts are parted by, if a request has any.
pub(super) fn boundary_of(headers: &HeaderMap) -> Option<String> {
    let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let parameters = media_type.strip_prefix("multipart/form-data")?;
    parameter("boundary", parameters).filter(|boundary| !boundary.is_empty())
}

/// The parts of a body, or nothing if it is not made of them.
pub(super) fn parts_of(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut at = find(body, opening.as_bytes())? + opening.len();
    let mut parts = Vec::new();
    while !body[at..].starts_with(b"--") {
        if parts.len() == PARTS_MAX {
            return None;
        }
        let head_begins = at + body[at..].strip_prefix(b"\r\n").map(|_| 2)?;
        let head_len = find(&body[head_begins..], b"\r\n\r\n")?;
        let head = std::str::from_utf8(&body[head_begins..head_begins + head_len]).ok()?;
        let begins = head_begins + head_len + 4;
        let ends = begins + find(&body[begins..], delimiter.as_bytes())?;
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        })?;
        parts.push(Part {
            name: parameter("name", disposition)?,
            filename: parameter("filename", disposition),
            content: body.slice(begins..ends),
        });
        at = ends + delimiter.len();
    }
    Some(parts)
}

/// A parameter such as `; name="file"`.
fn parameter(name: &str, text: &str) -> Option<String> {
    text.split(';').find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        let value = value.trim_matches('"');
        (key == name).then(|| value.to_owned())
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &'static str) -> Option<Vec<Part>> {
        parts_of(&Bytes::from_static(body.as_bytes()), "xx")
    }

    #[test]
    fn fields_and_files_are_told_apart() {
        let read = parts(
            "--xx\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\
             Content-Type: text/plain\r\n\r\n{}\r\n{}\r\n\r\n--xx--\r\n",
        );
        let part = |name: &str, filename: Option<&str>, content: &'static str| Part {
            name: name.to_owned(),
            filename: filename.map(str::to_owned),
            content: Bytes::from_static(content.as_bytes()),
        };
        assert_eq!(
            read.unwrap(),
            [
                part("purpose", None, "batch"),
                part("file", Some("a.jsonl"), "{}\r\n{}\r\n"),
            ]
        );
    }

    #[test]
    fn what_is_not_made_of_parts_is_refused() {
        for body in [
            "",
            "--xx",
            "--xx\r\n",
            "--xx\r\n\r\n",
            "--xx\r\nname\r\n\r\nx\r\n--xx--",
            "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nno end",
            "--xx\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--xx--",
        ] {
            assert_eq!(parts(body), None, "{body}");
        }
    }
}
