//! What most handlers answer.

use apogee_wire::Command;
use apogee_wire::bodies::Body;
use apogee_wire::codes::response;
use bytes::Bytes;

use crate::error::BrokerError;

/// An answer; `None`: the request is answered later.
pub(crate) type Answer = Result<Option<Command>, BrokerError>;

/// A success without more.
pub(super) fn done(request: &Command) -> Answer {
    Ok(Some(success(request)))
}

/// A success with a body.
pub(super) fn body(request: &Command, body: &impl Body) -> Answer {
    Ok(Some(success(request).with_body(body.encode())))
}

/// A success to add to.
pub(super) fn success(request: &Command) -> Command {
    Command::response_to(request, response::SUCCESS)
}

/// A page of a list that is asked for with a first position, a length and the version that the
/// asker began with. A list that changed since begins again, and without a length it comes whole.
pub(super) fn page<T>(request: &Command, all: Vec<T>, first: &str, most: &str, version: &[u8]) -> Vec<T> {
    let number = |name| request.fields.get(name).and_then(|text| text.trim().parse::<usize>().ok());
    let began_with = request.fields.get("dataVersion").filter(|text| !text.is_empty());
    let stale = began_with.is_some_and(|began| began.as_bytes() != version);
    let first = if stale { 0 } else { number(first).unwrap_or(0) };
    all.into_iter().skip(first).take(number(most).unwrap_or(usize::MAX)).collect()
}

/// Reads a byte of each page, so that what is on disk is in memory when it is sent. On threads that
/// may wait.
pub(super) fn touch(slices: &[Bytes]) {
    const PAGE: usize = 4096;
    for slice in slices {
        for byte in slice.iter().step_by(PAGE) {
            std::hint::black_box(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::codes::request as code;

    use super::*;

    #[test]
    fn a_list_comes_in_pages() {
        let page_of = |fields: &[(&str, &str)]| {
            let mut request = Command::request(code::GET_ALL_TOPIC_CONFIG);
            for (name, value) in fields {
                request.fields.set_str(name, value);
            }
            page(&request, vec![1, 2, 3, 4, 5], "topicSeq", "maxTopicNum", b"v2")
        };
        assert_eq!(page_of(&[]), [1, 2, 3, 4, 5]);
        assert_eq!(page_of(&[("topicSeq", "2"), ("maxTopicNum", "2"), ("dataVersion", "v2")]), [3, 4]);
        assert_eq!(page_of(&[("topicSeq", "4"), ("maxTopicNum", "2"), ("dataVersion", "")]), [5]);
        assert_eq!(page_of(&[("topicSeq", "9"), ("maxTopicNum", "2")]), [0; 0]);
        assert_eq!(page_of(&[("topicSeq", "2"), ("maxTopicNum", "2"), ("dataVersion", "v1")]), [1, 2]);
    }
}
