//! The HTTP source against answers that are made up on the spot.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use reqwest::ResponseBuilderExt;

use super::*;
use crate::content::Digest;
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
    /// The range, and not that it is one.
    Bare,
    /// No such range, of something as long.
    NoSuchRange,
    /// The range, from a CDN that it leads to.
    Led,
    /// An exchange that breaks off.
    Broken,
    /// Nothing.
    Silence,
}

/// A place that answers by the generation of its URL, the number of the question, and the range.
struct Place<F> {
    says: F,
    located: AtomicU32,
    asked: StdMutex<Vec<Option<(u64, u64)>>>,
    hosts: StdMutex<Vec<String>>,
}

impl<F: Fn(u32, usize) -> Says + Send + Sync> Locate for Place<F> {
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        let generation = self.located.fetch_add(1, Ordering::Relaxed);
        let url = format!("https://host{first}/{generation}").parse().expect("URL");
        Box::pin(std::future::ready(Ok(Located { url, size: None, digest: None, is_guess: false })))
    }

    fn places(&self) -> usize {
        2
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Response, Setback>> {
        self.hosts.lock().expect("the hosts").push(host(url));
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
        let mut url = url.clone();
        let response = match (self.says)(generation, number) {
            Says::Broken => {
                return Box::pin(std::future::ready(Err(net::wrong(&url, "half an answer").into())));
            }
            Says::Silence => {
                let waited = Duration::from_secs(10);
                let stalled = Failure::Stalled { host: host(&url), waited };
                return Box::pin(std::future::ready(Err(stalled.into())));
            }
            Says::Led => {
                url = format!("https://cdn/{generation}").parse().expect("URL");
                part("e", SIZE)
            }
            Says::Part(etag) => part(etag, SIZE),
            Says::Longer => part("e", SIZE + 1),
            Says::Whole => http::Response::builder().status(200).body(vec![7; SIZE as usize]),
            Says::Bare => http::Response::builder()
                .status(206)
                .header("content-length", last + 1 - first)
                .body(vec![7; usize::try_from(last + 1 - first).expect("small")]),
            Says::NoSuchRange => http::Response::builder()
                .status(416)
                .header("content-range", format!("bytes */{SIZE}"))
                .body(Vec::new()),
            Says::Refused => http::Response::builder().status(403).body(b"expired".to_vec()),
        };
        let (parts, body) = response.expect("a response").into_parts();
        let mut response = http::Response::builder().status(parts.status).url(url);
        *response.headers_mut().expect("headers") = parts.headers;
        Box::pin(std::future::ready(Ok(response.body(body).expect("a response").into())))
    }

    fn is_endpoint(&self, url: &Url) -> bool {
        host(url).starts_with("host")
    }
}

fn source<F: Fn(u32, usize) -> Says + Send + Sync>(says: F) -> HttpSource<Place<F>> {
    source_of(SIZE, says)
}

fn source_of<F: Fn(u32, usize) -> Says + Send + Sync>(size: u64, says: F) -> HttpSource<Place<F>> {
    let place =
        Place { says, located: AtomicU32::new(0), asked: StdMutex::default(), hosts: StdMutex::default() };
    let digest = Digest::from_etag(&"a".repeat(64)).expect("a digest");
    let file = WantedFile::new("m.bin".parse().expect("a path"), Content::new(size, digest));
    let patience = Patience::new(Duration::from_secs(10), Duration::from_mins(5));
    HttpSource::new(place, file, None, Arc::new(patience))
}

fn asked<F>(source: &HttpSource<Place<F>>) -> Vec<Option<(u64, u64)>> {
    source.locate.asked.lock().expect("the questions").clone()
}

/// Whom the questions went to.
fn hosts<F>(source: &HttpSource<Place<F>>) -> Vec<String> {
    source.locate.hosts.lock().expect("the hosts").clone()
}

#[tokio::test]
async fn where_an_endpoint_led_to_is_asked_until_it_refuses() {
    let source = source(|_, number| if number == 2 { Says::Refused } else { Says::Led });
    assert_eq!(source.open(&(0..10)).await.expect("a part").origin.as_str(), "cdn");
    source.open(&(10..20)).await.expect("a part");
    let Err(Trouble::Expired(expired)) = source.open(&(20..30)).await else { panic!("it was refused") };
    source.renew(expired).await.expect("the endpoint is asked again");
    source.open(&(20..30)).await.expect("a part");
    source.open(&(30..40)).await.expect("a part");
    assert_eq!(hosts(&source), ["host0", "cdn", "cdn", "host0", "cdn"]);
    assert_eq!(source.locate.located.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn where_an_endpoint_led_to_is_left_when_it_fails() {
    let source = source(|_, number| if number == 1 { Says::Broken } else { Says::Led });
    for is_good in [true, false, true] {
        assert_eq!(source.open(&(0..10)).await.is_ok(), is_good);
    }
    assert_eq!(hosts(&source), ["host0", "cdn", "host0"]);
    // Before bytes are thrown away it is the Hub that is asked.
    source.confirm().await.expect("confirmed");
    assert_eq!(source.locate.located.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_endpoint_that_does_not_begin_is_left_for_the_next_one() {
    let source = source(|_, number| if number == 1 { Says::Part("e") } else { Says::Silence });
    for is_good in [false, true, false, false] {
        assert_eq!(source.open(&(0..10)).await.is_ok(), is_good);
    }
    assert_eq!(
        hosts(&source),
        ["host0", "host1", "host1", "host1"],
        "who has begun once is not left at once"
    );
}

#[tokio::test]
async fn an_endpoint_may_begin_late_with_what_is_large() {
    for (size, beginning) in [(SIZE, Beginning::Soon), (AT_HAND_MAX + 1, Beginning::Late)] {
        let source = source_of(size, |_, number| if number == 0 { Says::Refused } else { Says::Part("e") });
        assert_eq!(source.beginning(), Beginning::Late, "nobody knows yet where the bytes are");
        source.open(&(0..10)).await.expect_err("refused");
        assert!(size > SIZE || source.beginning() == Beginning::Unknown);
        let _ = source.open(&(0..10)).await;
        assert_eq!(source.beginning(), beginning);
    }
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

/// What comes of asking a source for its second tenth again and again.
async fn verdicts<F: Fn(u32, usize) -> Says + Send + Sync>(
    source: &HttpSource<Place<F>>,
    pause: Duration,
) -> String {
    let mut verdicts = String::new();
    for _ in 0..6 {
        verdicts.push(match source.open(&(10..20)).await {
            Ok(_) => '+',
            Err(Trouble::Failed(_)) => '-',
            Err(Trouble::NoRanges(_)) => 'n',
            other => panic!("{other:?}"),
        });
        tokio::time::sleep(pause).await;
    }
    verdicts
}

#[tokio::test(start_paused = true)]
async fn three_odd_answers_in_a_row_make_a_server_one_without_ranges() {
    const AT_ONCE: Duration = Duration::from_millis(1);
    let at_second = source(|generation, _| if generation == 0 { Says::Bare } else { Says::Part("e") });
    assert_eq!(verdicts(&at_second, AT_ONCE).await, "-+++++", "another endpoint has ranges");
    for odd in [Says::Bare, Says::NoSuchRange] {
        assert_eq!(verdicts(&source(|_, _| odd), AT_ONCE).await, "--nnnn");
        let good_in_between = |_, number| if number == 2 { Says::Part("e") } else { odd };
        assert_eq!(verdicts(&source(good_in_between), AT_ONCE).await, "--+---");
    }
    let large = source_of(WHOLE_MAX, |_, _| Says::Bare);
    assert_eq!(verdicts(&large, AT_ONCE).await, "------", "it is to be had by ranges alone");
}

#[tokio::test(start_paused = true)]
async fn ranges_that_worked_are_given_up_when_nothing_else_has_come_for_as_long_as_a_stall() {
    for odd in [Says::Bare, Says::Whole] {
        let source = source(move |_, number| if number == 0 { Says::Part("e") } else { odd });
        assert_eq!(verdicts(&source, Duration::from_secs(3)).await, "+----n");
    }
}

#[tokio::test]
async fn all_of_a_file_may_come_as_a_part_of_it() {
    let source = source(|_, number| [Says::Bare, Says::Bare, Says::Bare, Says::Part("e")][number.min(3)]);
    assert_eq!(source.open(&(0..SIZE)).await.expect("all of it").covers, 0..SIZE);
    assert!(source.open(&(10..20)).await.is_err());
    assert!(source.open(&(10..20)).await.is_err());
    source.seen().whole = true;
    assert_eq!(source.open(&(0..SIZE)).await.expect("all of it").covers, 0..SIZE);
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

#[tokio::test]
async fn a_url_that_was_asked_for_without_a_refusal_may_have_expired_like_the_first() {
    let source = source(|generation, _| if generation < 2 { Says::Part("e") } else { Says::Refused });
    source.open(&(0..10)).await.expect("a part");
    for asked_again in [source.confirm(), source.fail_over()] {
        asked_again.await.expect("another URL");
    }
    for is_first in [true, false] {
        let Err(Trouble::Expired(expired)) = source.open(&(0..10)).await else { panic!("it was refused") };
        assert_eq!(source.renew(expired).await.is_ok(), is_first);
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
