//! The HTTP source against answers that are made up on the spot.

use crate::content::Digest;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::error::Failure;
use crate::source;

const SIZE: u64 = 100;

/// One thing a server may answer to a GET.
#[derive(Clone, Copy)]
enum Says {
    /// The range that was asked for, with this etag.
    Part(&'static str),
    /// All of it.
    Whole,
    /// 403.
    Refused,
    /// A part of something longer.
    Longer,
}

/// A place that answers by the generation of its URL, the number of the question, and the range.
struct Place<F> {
    says: F,
    located: AtomicU32,
    asked: StdMutex<Vec<Option<(u64, u64)>>>,
}

impl<F: Fn(u32, usize) -> Says + Send + Sync> Locate for Place<F> {
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        let generation = self.located.fetch_add(1, Ordering::Relaxed);
        let url = format!("https://host{first}/{generation}").parse().expect("URL");
        Box::pin(std::future::ready(Ok(Located { url, size: Some(SIZE), digest: None, is_guess: false })))
    }

    fn places(&self) -> usize {
        2
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Response, Failure>> {
        let number = {
            let mut asked = self.asked.lock().expect("the questions");
            asked.push(range);
            asked.len() - 1
        };
        let generation = url.path().trim_start_matches('/').parse().expect("a generation");
        let (first, last) = range.unwrap_or((0, SIZE - 1));
        let part = |etag: &str, total: u64| {
            let body = vec![7; usize::try_from(last + 1 - first).expect("small")];
            let range = format!("bytes {first}-{last}/{total}");
            http::Response::builder()
                .status(206)
                .header("content-range", range)
                .header("etag", etag)
                .body(body)
        };
        let response = match (self.says)(generation, number) {
            Says::Part(etag) => part(etag, SIZE),
            Says::Longer => part("e", SIZE + 1),
            Says::Whole => http::Response::builder().status(200).body(vec![7; SIZE as usize]),
            Says::Refused => http::Response::builder().status(403).body(b"expired".to_vec()),
        };
        Box::pin(std::future::ready(Ok(response.expect("a response").into())))
    }
}

fn source<F: Fn(u32, usize) -> Says + Send + Sync>(says: F) -> HttpSource<Place<F>> {
    let place = Place { says, located: AtomicU32::new(0), asked: StdMutex::default() };
    let digest = Digest::from_etag(&"a".repeat(64)).expect("a digest");
    let file = WantedFile { path: "m.bin".parse().expect("a path"), content: Content::new(SIZE, digest) };
    HttpSource::new(place, file, None, Duration::from_secs(10))
}

fn asked<F>(source: &HttpSource<Place<F>>) -> Vec<Option<(u64, u64)>> {
    source.locate.asked.lock().expect("the questions").clone()
}

#[tokio::test]
async fn a_range_comes_as_it_was_asked_for() {
    let source = source(|_, _| Says::Part("e"));
    let (bytes, origin) = source::read(&source, &(10..20), SIZE).await.expect("bytes");
    assert_eq!((bytes, origin.as_str()), (vec![7; 10], "host0"));
    assert_eq!(asked(&source), [Some((10, 19))]);
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_for_all_and_only_for_all() {
    let source = source(|_, _| Says::Whole);
    for _ in 0..2 {
        assert!(matches!(source.open(&(10..20)).await, Err(Trouble::NoRanges(_))));
    }
    let opened = source.open(&(0..SIZE)).await.expect("all of it");
    assert_eq!(opened.covers, 0..SIZE);
    assert_eq!(asked(&source), [Some((10, 19)), None]);
}

#[tokio::test]
async fn one_whole_answer_does_not_make_a_server_one_without_ranges() {
    let source = source(|_, number| if number == 1 { Says::Whole } else { Says::Part("e") });
    source.open(&(0..10)).await.expect("a part");
    assert!(matches!(source.open(&(10..20)).await, Err(Trouble::Failed(_))));
    source.open(&(10..20)).await.expect("a part");
}

#[tokio::test]
async fn another_etag_of_the_same_host_is_another_copy_of_the_same_bytes() {
    let source = source(|_, number| Says::Part(["one", "two"][number % 2]));
    let mut origins = Vec::new();
    for _ in 0..4 {
        origins.push(source.open(&(0..10)).await.expect("a part").origin);
    }
    assert_eq!((&origins[0], &origins[1]), (&origins[2], &origins[3]));
    assert_ne!(origins[0], origins[1]);
    assert_eq!(origins[0].to_string(), origins[1].to_string(), "what is shown is the host");
}

#[tokio::test]
async fn a_server_whose_etags_are_all_new_is_one_origin() {
    let source = source(|_, number| {
        Says::Part(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"][number % 12])
    });
    let mut origins = std::collections::HashSet::new();
    for _ in 0..12 {
        origins.insert(source.open(&(0..10)).await.expect("a part").origin);
    }
    assert_eq!(origins.len(), COPIES_MAX + 1);
}

#[tokio::test]
async fn another_host_may_call_the_same_bytes_differently() {
    let source = source(|generation, _| Says::Part(if generation == 0 { "here" } else { "there" }));
    source.open(&(0..10)).await.expect("a part");
    source.fail_over().await.expect("another host");
    assert_eq!(source.open(&(10..20)).await.expect("a part").origin.as_str(), "host1");
}

#[tokio::test]
async fn another_size_is_a_change() {
    let source = source(|_, _| Says::Longer);
    assert!(matches!(source.open(&(0..10)).await, Err(Trouble::Changed { .. })));
}

#[tokio::test]
async fn many_who_find_a_url_expired_ask_once_for_a_new_one() {
    let source = source(|generation, _| if generation == 0 { Says::Refused } else { Says::Part("e") });
    let mut expired = Vec::new();
    for _ in 0..4 {
        match source.open(&(0..10)).await {
            Err(Trouble::Expired(why)) => expired.push(why),
            other => panic!("{other:?}"),
        }
    }
    source.open(&(0..10)).await.expect_err("nobody has renewed it");
    futures_util::future::try_join_all(expired.into_iter().map(|why| source.renew(why)))
        .await
        .expect("renewed");
    source.open(&(0..10)).await.expect("a part");
    assert_eq!(source.locate.located.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_fresh_url_that_is_refused_too_is_final() {
    let source = source(|_, _| Says::Refused);
    for is_first in [true, false] {
        let Err(Trouble::Expired(expired)) = source.open(&(0..10)).await else { panic!("it was refused") };
        let renewed = source.renew(expired).await;
        assert_eq!(renewed.is_ok(), is_first);
        if let Err(error) = renewed {
            assert!(error.to_string().contains("with a fresh URL"), "{error}");
        }
    }
}

#[test]
fn a_digest_of_another_kind_is_no_contradiction() {
    let digest = |text: &str, length| Digest::from_etag(&text.repeat(length)).expect("a digest");
    let content = Content::new(5, digest("a", 64));
    let announced = |size, digest| {
        let url = "https://h/x".parse().expect("URL");
        contradicts(&Located { url, size: Some(size), digest, is_guess: false }, &content)
    };
    assert!(!announced(5, None) && !announced(5, Some(digest("a", 64))));
    assert!(!announced(5, Some(digest("b", 40))));
    assert!(announced(5, Some(digest("b", 64))) && announced(6, None));
}
