//! A configuration that cannot work is refused before the first call, with what to do about it.

use medcards_ai::{AnthropicBuilder, AnthropicProvider, OpenAiProvider};
use medcards_core::ai::AiProvider;
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, ErrorKind};
use secrecy::SecretString;

use crate::sample::KEY;

fn complete() -> AnthropicBuilder {
    AnthropicProvider::builder("claude-haiku-4-5").with_key(SecretString::from(KEY))
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, Error>, advice: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(advice), "{error}");
    assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
}

#[test]
fn what_cannot_work_is_refused() {
    let key = |key: &str| SecretString::from(key);
    refused(AnthropicProvider::builder("").build(), "1 to 100 printable");
    refused(
        AnthropicProvider::builder("claude-haiku-4-5").build(),
        "needs a key",
    );
    refused(
        OpenAiProvider::builder("m")
            .with_price(Price::default())
            .build(),
        "needs a key",
    );
    refused(complete().with_key(key(" ")).build(), "the key is empty");
    refused(
        complete().with_key(key(&format!("{KEY}\n"))).build(),
        "check for line ends",
    );
    refused(
        complete().with_version("20\n26").build(),
        "check for line ends",
    );
    refused(
        complete().with_header("a b", key("x")).build(),
        "unusable name",
    );
    refused(
        complete().with_base_url("api.anthropic.com").build(),
        "not a url",
    );
    refused(
        complete().with_base_url("ftp://example.org").build(),
        "http:// or https://",
    );
    let url = format!("https://user:{KEY}@example.org");
    refused(complete().with_base_url(url).build(), "holds a password");
    refused(
        AnthropicProvider::builder("my-model")
            .with_key(key(KEY))
            .build(),
        "the price of my-model is not known: set it with with_price",
    );
}

#[test]
fn nothing_shows_the_key() {
    let builder = complete().with_header("x-more", SecretString::from(KEY));
    assert!(!format!("{builder:?}").contains(KEY));
    let provider = builder.build().unwrap();
    assert!(!format!("{provider:?} {provider}").contains(KEY));
    assert_eq!(
        provider.to_string(),
        "AnthropicProvider(claude-haiku-4-5 at api.anthropic.com)"
    );
    let builder = OpenAiProvider::builder("m").with_key(SecretString::from(KEY));
    assert!(!format!("{builder:?}").contains(KEY));
    let provider = builder
        .with_price(Price::default())
        .with_base_url("http://[::1]:8081/v1")
        .build()
        .unwrap();
    assert!(!format!("{provider:?} {provider}").contains(KEY));
    assert_eq!(provider.to_string(), "OpenAiProvider(m at [::1]:8081)");
}

#[test]
fn a_given_price_wins_over_the_list() {
    let price = Price {
        output: MicroDollars::new(7),
        ..Price::default()
    };
    assert_eq!(complete().with_price(price).build().unwrap().price(), price);
    assert_ne!(complete().build().unwrap().price(), price);
}
