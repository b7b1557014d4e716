//! The quick part of the fuzzing: the seeds of `tests/fuzz`, and mutations of them, through the same
//! entry points, without its tools.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;

#[path = "../fuzz/parsers.rs"]
mod parsers;

/// Mutations of each seed.
const MUTATIONS: usize = 2_000;

fn seeds(parser: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(parser);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of seeds")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// A few changes of the kinds libFuzzer makes.
fn mutate(seed: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=data.len());
        match rng.u8(..6) {
            0 if at < data.len() => data[at] ^= 1 << rng.u8(..8),
            1 if at < data.len() => data[at] = rng.u8(..),
            2 => data.insert(at, *rng.choice(b"0918-/:;,.=\"\\[]{}<>% \n\xff\x00").expect("a byte")),
            3 if at < data.len() => drop(data.drain(at..(at + rng.usize(1..16)).min(data.len()))),
            4 => {
                let other = rng.choice(others).expect("a seed");
                let part = &other[rng.usize(..=other.len())..];
                data.splice(at..at, part.iter().copied());
            }
            _ => {
                let part = data[at..(at + rng.usize(1..32)).min(data.len())].to_vec();
                data.splice(at..at, part.repeat(rng.usize(1..8)));
            }
        }
    }
    data
}

#[test]
fn parsers_of_foreign_input_survive_their_seeds_and_mutations_of_them() {
    let mut rng = Rng::with_seed(7);
    for (name, parse) in parsers::PARSERS {
        let seeds = seeds(name);
        let check = |data: &[u8]| {
            let survived = catch_unwind(AssertUnwindSafe(|| parse(data)));
            assert!(survived.is_ok(), "{name}: {}", data.escape_ascii());
        };
        for seed in &seeds {
            check(seed);
            (0..MUTATIONS).for_each(|_| check(&mutate(seed, &seeds, &mut rng)));
        }
    }
}
