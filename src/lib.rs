//! Stoppress holds print orders until a lab's cutoff, hands them over once, and says truthfully whether
//! an order can still be stopped.
//!
//! ```text
//!  platforms, ops, labs' people                                   labs
//!        │  HTTP, gRPC                                             ▲  HTTP, gRPC, links
//!        ▼                                                         │
//!   ┌─────────┐   records the intent,    ┌─────────┐   calls   ┌───┴────┐
//!   │   api   │───────── nudges ────────►│  work   │──────────►│  lab   │
//!   └────┬────┘                          └────┬────┘           └────────┘
//!        │         ┌───────────────────┐      │
//!        └────────►│       store       │◄─────┘        domain: the rules, pure, under all of them
//!                  │ SQLite PostgreSQL │
//!                  └───────────────────┘
//! ```
//!
//! # Rooms
//! | room | is | refuses |
//! |---|---|---|
//! | [`domain`] | the rules: calendars, orders, transfers, stops, verdicts | I/O, clocks, databases |
//! | [`store`] | what was decided, durable; one text a statement for both engines | calendars, endpoints |
//! | [`lab`] | calls to labs, also over the links that they dial; classifies every answer once | deciding what an answer means for an order |
//! | [`work`] | loops: close, transfer, stop, address, changes, revoke, import, remind, tell, warn, clear, chores; each a `tick(now)` | sleeping outside its one runner |
//! | [`api`] | the surface: HTTP and gRPC, two faces of the same functions | calling a lab |
//!
//! Single files: [`app`] puts the rooms together and is the only one that sees concrete engines;
//! [`config`] alone reads the environment; [`clock`] alone reads the time and randomness; [`telemetry`] is
//! the log and the metrics; [`cli`] is the commands; [`points`] is where
//! tests of debug builds end the process or plant a mistake. `tests/it/tidy` keeps the walls.
//!
//! # What always holds
//! - An order is acknowledged only after its row is durable; one row a platform and reference, for ever.
//! - "Stopped" rests on one of three: nothing ever left the house, the lab said that it took the order
//!   out, or a named person found out. No clock grants a stop: the *stored* phase does, under the lock
//!   that a claim takes as well.
//! - No byte leaves before the intent to send it is durable, with key, hash and fence.
//! - What went out under a key never changes. The same bytes go again only to a lab that truly
//!   deduplicates, while it knows the key; other bytes only after a proof of absence, under a new key.
//! - Not knowing is a state. It ends by a positive sign, by a proof, or with a person at a deadline.
//! - What is *not* here on purpose: leader election, agreeing clocks, leases of a certain length. None of
//!   the above needs them. Two assumptions about time are left: the horizon after which "not there" can be
//!   believed of a lab; and, for the promise below between several gateways, that a gateway which has said
//!   nothing for [`store::GONE_AFTER`] serves nobody.
//!
//! # A stop one second before midnight
//! The gate of `api`, over HTTP and gRPC alike, takes a guard from [`store::Store::asking`] before it reads
//! the caller's key: no claim of a later instant begins until it is dropped. The stop joins the next commit
//! (`store::batch`); its transaction locks the order's standing, reads the transfer's phase,
//! finds none, and [`domain::stop::grant`] says `stopped`, evidence `never_handed`. At midnight
//! [`work::close`] closes the batch in one row; [`work::transfer`] claims who is alive under the same lock,
//! and the order is not among them. Had the claim been first, the stop would have read `sending`, and
//! would be `pending` until the lab, a proof or a person decides. If the stop is asked at one gateway and
//! another hands over, that one's claim leaves the batch alone until [`work::clear`] of the first has said
//! that it is clear of the cutoff.
//!
//! # A stop that waits for people
//! At a lab whose people answer ([`domain::contact`]), a stop is `pending` until its deadline, which contact
//! hours may put off ([`domain::hours`]). [`work::remind`] plans the mails about it in the store, claims each
//! before it is sent, and settles how that ended; a mail that cannot be sent gives the stop to ops at once.
//! The link in a mail ([`domain::link`]) is signed with a key that lies in the database: it is made at the
//! first start, and so the same after a restart and at every gateway. Whoever can read the database can
//! make links, and could as well answer there; deleting the row takes back all links. `api::http::links` is the
//! page behind: looking at it never acts, and a press of its button settles the stop like any other answer.
//!
//! # An endpoint that is told
//! The log is the outbox of webhooks: an endpoint has a cursor over it, and admitting an order writes nothing for
//! it. [`work::tell`] takes an endpoint under a lease, writes down up to where the log will be sent, sends, and
//! writes down what came of many messages at once; what was not taken becomes a row with a time of its own, and what
//! comes later about the same order waits behind it. Killed in the middle, the stretch that was taken is sent once
//! more, under the same ids.
//!
//! # A customer who presses a button
//! A platform gives its customer a link ([`domain::customer_link`]), signed like those in mails with a key of its
//! own, for one order and one action. Opening it swaps it for a session in a cookie and acts on nothing; the
//! serial of the order's links, read from the store each time, takes all of them back at once. `api::page::customer`
//! is the page behind: its form asks for the stop by the same function as the API, as of the instant at which
//! its head arrived, once its session was verified without a look at the store: nobody without a link can keep
//! hand-overs waiting.
//!
//! # An order in the place of another
//! A replacement is admitted with a hold, in the transaction that asks for the old order's stop. Stops are decided in
//! many places; none of them thinks of replacements. Each entry of the log about a stop is heard where it is written,
//! and `store::verbs` follows what it means for others before the commit: who waits for an order that is stopped is
//! released, who waits for one that is printed is stopped, and what a merchant was still to decide about either is
//! overtaken. The store knows no calendar: whoever was released is kept as one that needs a window, until
//! [`work::changes`] has found it one. A customer's request that a merchant decides on is a hold as well, put under
//! the lock that a stop takes; so the cutoff passes it by, however long the merchant takes.
//!
//! # A parcel that is to go elsewhere
//! Until the hand-over an address is the platform's to change. Once the lab has the order, only the lab can change where it
//! goes ([`domain::address`]): a lab whose profile says that it does is asked, and the order keeps its address until the lab
//! has said `taken`, in the transaction that writes that down. [`work::address`] records the intent, asks under a lease and
//! with one id, and gives to a person at the deadline what nobody answered. A refusal counts only if no earlier attempt may
//! have been taken. While the order is on the wire nobody can be asked, and nothing is changed: its frozen bytes may have to
//! be sent again. From the lab's acknowledgement on they never are, which is why its address may be another one then. A stop
//! that succeeds ends the question: there is no parcel.
//!
//! # A download beside the prints
//! A line of kind `download` ([`domain::downloads`]) is in no manifest and waits for no cutoff: its platform hosts the file,
//! and alone can say that the link is dead or that it was fetched. A stop asks about it in its own transaction, under
//! the same lock, and tells it apart from what is printed. [`work::revoke`] writes down the intent, calls the platform
//! back under a lease, and takes one of two words; whatever else comes is asked again under the same id, and a person's at
//! the deadline. Nobody says `revoked` before the platform has, or a person who asked it. An order of downloads only is
//! refused: no lab and no cutoff is between a shop and what it only lets be fetched.
//!
//! # An order that is over
//! Where a parcel went is nobody's any more once it has gone. So many days after an order was handed over or stopped, with
//! nothing open and nothing heard of since, [`work::chores`] takes out what its submission says of people
//! ([`domain::retention`]), under the lock that a stop and a claim take; its log, which never had it, goes on with the hash
//! of what was there. The bytes of a transfer that may have to be sent again are built from submissions: until it is
//! known what came of it, none of its orders is touched.
//!
//! # An order that names no lab
//! It gives what it needs, and [`domain::route`] chooses lab and region by rules, a pure function of the rules, the
//! order and how the labs stand as this gateway sees them. `api::routes` prepares it like one that names both; what
//! counts as its content is what was asked, so that the same reference is the same order whatever the rules say now.
//! The explanation is part of the entry of its admission. Where a region has groups ([`domain::region`]), an order
//! joins the window of one place: `fi`, `fi.mugs`. What it is promised beyond its batch, the log of the order says.
//!
//! # A replica that dies while a lab answers
//! Its claim is durable: `sending`, fence 1, one attempt unresolved. Its lease runs out, another replica
//! (or the next start on the same file) makes it `unknown` and raises the fence, so that a late time-out
//! of the dead one counts for nothing, and its late acknowledgement still does. Then
//! [`domain::batch::remedy`] chooses: send the same bytes again under the same key, look it up after the
//! horizon, wait, or call a person.
//!
#![doc = include_str!("cases.md")]
#![doc = include_str!("recovery.md")]
#![doc = include_str!("promise.md")]

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod lab;
pub mod points;
pub mod store;
pub mod telemetry;
pub mod work;
/// The protocols of platforms and labs, generated from `proto/stoppress/v1`.
#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in the proto files"
)]
pub mod proto {
    tonic::include_proto!("own/stoppress.v1");
    /// The descriptors of all protocol files, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/own/stoppress.v1.bin"));
}

/// How messages are read and written over gRPC: in buffers that begin small and grow with what goes through
/// them. A lab that only stays connected holds two of them for as long, and there may be thousands.
pub mod codec {
    use std::marker::PhantomData;

    use prost::Message;
    use tonic::codec::{BufferSettings, Codec};
    use tonic_prost::ProstCodec;

    /// The size that a buffer begins with, and that from which on what was written is sent, in bytes.
    const BEGIN: usize = 1024;
    const SEND: usize = 32 * 1024;

    /// The codec of the generated clients and servers.
    #[derive(Debug, Clone)]
    pub struct GrowingCodec<T, U>(PhantomData<(T, U)>);

    impl<T, U> Default for GrowingCodec<T, U> {
        fn default() -> Self {
            Self(PhantomData)
        }
    }

    impl<T, U> Codec for GrowingCodec<T, U>
    where
        T: Message + Send + 'static,
        U: Message + Default + Send + 'static,
    {
        type Encode = T;
        type Decode = U;
        type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
        type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

        fn encoder(&mut self) -> Self::Encoder {
            ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN, SEND))
        }

        fn decoder(&mut self) -> Self::Decoder {
            ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN, SEND))
        }
    }
}
