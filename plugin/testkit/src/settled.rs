//! How a request ended, to be looked at.

use serde_json::Value as Json;
use step_up_core::Response;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Released upstream, without these headers.
    Forwarded(Vec<String>),
    /// Answered by the filter.
    Answered(Answer),
}

/// An answer of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What the host's log says of it.
    pub details: String,
}

impl Answer {
    pub(crate) fn new(response: &Response) -> Answer {
        for (name, value) in &response.headers {
            assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name}: {value}");
        }
        let (headers, body) = (response.headers.clone(), response.body.to_vec());
        Answer { status: response.status, headers, body, details: response.details() }
    }

    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The code of the JSON-RPC error; `None` if the body is none.
    pub fn code(&self) -> Option<i64> {
        self.json()["error"]["code"].as_i64()
    }

    /// The answer without what differs from request to request.
    pub fn anonymous(&self) -> (u16, Vec<(&'static str, String)>, Json) {
        let mut json = self.json();
        let data = json["error"]["data"].as_object_mut().expect("error.data");
        let id = data.remove("request_id").expect("error.data.request_id");
        assert_eq!(id.as_str().map(str::len), Some(32), "128 bits in hexadecimal");
        (self.status, self.headers.clone(), json)
    }
}

/// A stream that was settled, and its record. The record is null where none was written.
#[derive(Clone, Debug)]
pub struct Settled {
    pub outcome: Outcome,
    pub record: Json,
}

impl Settled {
    pub fn is_forwarded(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded(_))
    }

    #[track_caller]
    pub fn answer(&self) -> &Answer {
        match &self.outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Forwarded(_) => panic!("forwarded: {}", self.record),
        }
    }

    #[track_caller]
    pub fn removed(&self) -> &[String] {
        match &self.outcome {
            Outcome::Forwarded(removed) => removed,
            Outcome::Answered(answer) => panic!("answered {}: {}", answer.status, self.record),
        }
    }

    #[track_caller]
    pub fn assert_forwarded(&self) {
        self.removed();
    }

    /// Status and reason at once, which is what most tests are about.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, reason: &str) {
        assert_eq!((self.answer().status, self.reason()), (status, reason), "{}", self.record);
    }

    pub fn challenge(&self) -> Option<&str> {
        self.answer().header("www-authenticate")
    }

    pub fn reason(&self) -> &str {
        self.record["reason"].as_str().unwrap_or_default()
    }

    /// The pattern of the rule that decided.
    pub fn rule(&self) -> Option<&str> {
        self.record["rule"].as_str()
    }
}
