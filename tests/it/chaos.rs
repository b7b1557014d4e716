//! Any sequence of faults: the file is right, or it is not there.

use std::time::Duration;

use fake_hub::{Ending, Fault, Rule};
use proptest::prelude::*;

use crate::support::{FILE, MIB, REPO, TestDir, hub, model};

/// What can happen to one answer of the CDN.
#[derive(Clone, Debug)]
enum Trouble {
    Cut(u64),
    Reset(u64),
    Pause(u64),
    Status(u16),
    Flip(u64),
    WholeFile,
    WrongRange,
    Short(i64),
    NoAnswer,
    Garbage,
    OtherEtag,
}

const SIZE: u64 = 6 * MIB;

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (0..MIB).prop_map(Trouble::Cut),
        (0..MIB).prop_map(Trouble::Reset),
        (0..MIB).prop_map(Trouble::Pause),
        prop::sample::select(vec![500, 502, 503, 403, 408, 429]).prop_map(Trouble::Status),
        (0..SIZE).prop_map(Trouble::Flip),
        Just(Trouble::WholeFile),
        Just(Trouble::WrongRange),
        (-2000..2000_i64).prop_map(Trouble::Short),
        Just(Trouble::NoAnswer),
        Just(Trouble::Garbage),
        Just(Trouble::OtherEtag),
    ]
}

impl Trouble {
    fn rule(&self, nth: u64) -> Rule {
        let rule = Rule::cdn().nth(nth);
        match *self {
            Self::Cut(bytes) => rule.then(Fault::cut(bytes)),
            Self::Reset(bytes) => rule.then(Fault::reset(bytes)),
            Self::Pause(bytes) => rule.then(Fault::pause(bytes, Duration::from_millis(1500))),
            Self::Status(status) => rule.then(Fault::status(status)),
            Self::Flip(offset) => Rule::cdn().covering(offset).then(Fault::FlipByte(offset)),
            Self::WholeFile => rule.then(Fault::IgnoreRange),
            Self::WrongRange => rule.then(Fault::ShiftRange(777)),
            Self::Short(bytes) => rule.then(Fault::BodyDelta(bytes)),
            Self::NoAnswer => rule.then(Fault::NoAnswer(Ending::Reset)),
            Self::Garbage => rule.then(Fault::garbage()),
            Self::OtherEtag => rule.then(Fault::Etag("0123456789".into())),
        }
    }

    /// Whether it makes the file begin again; of these, one is forgiven.
    fn restarts(&self) -> bool {
        matches!(self, Self::Flip(_) | Self::OtherEtag)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_published_file_is_right_or_absent(
        troubles in prop::collection::vec((1..12_u64, trouble()), 1..5),
        connections in 1..8_u64,
    ) {
        let model = model(7, 6);
        let hub = hub(&model);
        for (nth, trouble) in &troubles {
            hub.fault(trouble.rule(*nth));
        }
        let dir = TestDir::new();
        let connections = connections.to_string();
        let arguments = [REPO, FILE, "--connections", &connections, "--stall-timeout", "1s", "--give-up-after", "20s"];
        let run = dir.fetch(&hub, arguments).run();
        match run.status {
            Some(0) => dir.assert_done(FILE, &model),
            Some(number) => {
                // Faults that come once each are survived, unless two of them call for a clean start
                // or a fresh link is refused as well.
                let restarts = troubles.iter().filter(|(_, trouble)| trouble.restarts()).count();
                let refusals = troubles.iter().filter(|(_, trouble)| matches!(trouble, Trouble::Status(403))).count();
                prop_assert!(restarts > 1 || refusals > 1, "exit {}: {}", number, run.stderr);
                dir.assert_absent(FILE);
            }
            None => prop_assert!(false, "ended by a signal: {}", run.stderr),
        }
        hub.clear_faults();
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &model);
    }
}
