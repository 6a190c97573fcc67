//! What the sliding window of `@upstash/ratelimit` 2.2.0 has decided about thousands of calls, as
//! recorded by `tests/upstash/record`: steady clients, bursts around the ends of windows, pauses, and
//! the moments at which the weight of the window before is a whole number.

/// `trace,LIMIT,WINDOW_MS,BEGIN_MS` begins a trace. Each other line is a call: milliseconds after the
/// one before, the client, and what remains, or `-` if it was refused.
const RECORDED: &str = include_str!("../data/upstash-sliding-window.csv");

/// A call with a cost of one, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When, in milliseconds since the epoch: never before that of the last call.
    pub at_ms: u64,
    /// Who called: the name of one client under one quota.
    pub client: String,
    /// Whether the call was allowed.
    pub is_allowed: bool,
    /// How many more would have been, at that time.
    pub remaining: u32,
    /// How many calls the quota allows in a window.
    pub limit: u32,
    /// How long a window is, in milliseconds.
    pub window_ms: u64,
}

/// The recorded calls, in the order of their times.
pub fn calls() -> impl Iterator<Item = Call> {
    let mut trace = Trace::default();
    RECORDED.lines().filter_map(move |line| {
        let fields: Vec<_> = line.split(',').collect();
        match *fields {
            ["trace", limit, window_ms, begin_ms] => {
                trace = Trace {
                    number: trace.number + 1,
                    limit: limit.parse().unwrap(),
                    window_ms: window_ms.parse().unwrap(),
                    now_ms: begin_ms.parse().unwrap(),
                };
                None
            }
            [later_ms, client, remaining] => {
                trace.now_ms += later_ms.parse::<u64>().unwrap();
                Some(trace.call(client, remaining))
            }
            _ => panic!("a line of another kind was recorded: {line}"),
        }
    })
}

/// Where the reading is.
#[derive(Default)]
struct Trace {
    number: u32,
    limit: u32,
    window_ms: u64,
    now_ms: u64,
}

impl Trace {
    fn call(&self, client: &str, remaining: &str) -> Call {
        let is_allowed = remaining != "-";
        Call {
            at_ms: self.now_ms,
            client: format!("trace{}-client{client}", self.number),
            is_allowed,
            remaining: if is_allowed {
                remaining.parse().unwrap()
            } else {
                0
            },
            limit: self.limit,
            window_ms: self.window_ms,
        }
    }
}
