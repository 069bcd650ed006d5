//! From a first frame to a session that the log knows, here.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rotary_proto::command::Subject;
use rotary_proto::frame::{
    ClientFrame, CommandNumber, CommandReply, CommandResult, Mode, ServerFrame,
};
use rotary_proto::limits::ATTACH_MS;
use rotary_proto::outcome::Position;
use rotary_proto::query::{Link as SessionLink, SessionView};
use rotary_proto::{Actor, Cursor, SessionId, SiteId};

use crate::actor::link::Standing;
use crate::admission::{Budget, Seat, spread};
use crate::gateway::doors::Doors;
use crate::gateway::identity::{expect_unrevoked, identify};
use crate::gateway::session::board::Board;
use crate::gateway::session::table::Served;
use crate::gateway::session::telling::{Telling, ended};
use crate::gateway::session::{End, farewell};
use crate::gateway::token::{Claims, ResumeClaims, Role, TokenError, unix_s};
use crate::replica::stays::stays_in;

/// Sites that one session may read.
const SITES_MAX: usize = 64;
/// How long a session's return waits for this node to have heard of it.
const KNOWN_PATIENCE: Duration = Duration::from_millis(750);
/// How long who finds no seat stays away, about, in milliseconds.
const SEAT_PAUSE_MS: u64 = 1_000;
/// How long a resume token is good for, unless the bearer token expires sooner.
const RESUME_TTL_S: u64 = 24 * 3_600;

/// A session with its socket here.
pub(crate) struct Attached {
    pub(crate) served: Arc<Served>,
    /// What the socket is counted by.
    _seat: Seat,
    pub(crate) holder: Claims,
    pub(crate) subject: Subject,
    pub(crate) actor: Actor,
    pub(crate) places: Vec<Place>,
    /// Whether the log knows of the socket.
    pub(crate) telling: Telling,
    pub(crate) mode: Mode,
    /// The dense number after which events follow.
    pub(crate) seq: u64,
    /// Whether a snapshot comes before the events.
    pub(crate) snapshot: bool,
    /// Commands whose results the client asks for.
    unacknowledged: BTreeSet<CommandNumber>,
}

/// Where a session begins to read a site.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) site: SiteId,
    /// The last sequence that the client has, or the present if it named none.
    pub(crate) after: Option<u64>,
    /// Since when the log knows of the socket.
    pub(crate) standing: Standing,
}

/// What the first frame asks for, checked as far as it can be without the log.
pub(super) struct Wish {
    pub(super) session: SessionId,
    pub(super) holder: Claims,
    pub(super) sites: Vec<SiteId>,
    pub(super) cursors: Vec<Cursor>,
    pub(super) seq: u64,
    pub(super) resumes: bool,
    pub(super) unacknowledged: BTreeSet<CommandNumber>,
}

/// What a first frame comes to.
pub(super) enum Begun {
    /// A session that the log knows, or is told of.
    Attached(Box<Attached>),
    /// A board, of which the log knows nothing.
    Board(Board),
}

/// Makes a session out of the first frame, unless the client is `gone` before, or it takes longer
/// than clients wait: one who went elsewhere is not to be fetched back.
pub(super) async fn begin(
    doors: &Doors,
    first: ClientFrame,
    gone: impl Future<Output = ()>,
) -> Result<Begun, End> {
    let given_up = async {
        match tokio::time::timeout(Duration::from_millis(ATTACH_MS), gone).await {
            Ok(()) => End::gone(),
            Err(_) => {
                let detail = format!("no leader attached the session within {ATTACH_MS} ms");
                End::resume("behind", detail)
            }
        }
    };
    tokio::pin!(given_up);
    let wish = match first {
        ClientFrame::Start { token, cursors } => {
            let holder = tokio::select! {
                end = &mut given_up => return Err(end),
                holder = identify(doors, &token) => holder.map_err(bad_token)?,
            };
            start(doors, holder, cursors)?
        }
        ClientFrame::Resume { resume_token, cursors, seq, unacknowledged } => {
            let unacknowledged = unacknowledged.into_iter().collect();
            Wish { unacknowledged, ..resume(doors, &resume_token, cursors, seq)? }
        }
        _ => return Err(End::never("protocol", "the first frame is `start` or `resume`")),
    };
    if wish.holder.role == Role::Board {
        return tokio::select! {
            end = &mut given_up => Err(end),
            board = Board::begin(doors, wish) => board.map(Begun::Board),
        };
    }
    attach(doors, wish, given_up).await.map(|attached| Begun::Attached(Box::new(attached)))
}

/// Lets the log know of a session's connection, unless that is given up before.
async fn attach(
    doors: &Doors,
    wish: Wish,
    mut given_up: Pin<&mut impl Future<Output = End>>,
) -> Result<Attached, End> {
    let seat = doors.seats.take(wish.holder.tenant, wish.holder.principal).map_err(no_seat)?;
    let nobody = || End::never("token-malformed", "the token says nobody's name");
    let subject = wish.holder.subject().ok_or_else(nobody)?;
    let actor = wish.holder.actor().ok_or_else(nobody)?;
    let places = tokio::select! {
        end = &mut given_up => return Err(end),
        places = places(doors, &wish) => places?,
    };
    let sites = places.iter().map(|place| place.site).collect();
    let served = Arc::new(doors.sessions.take(wish.session, sites));
    served.pulse.start(wish.seq);
    let at_once = wish.resumes && places.iter().all(|place| is_known(doors, place));
    let telling = Telling::start(doors, &served, &places, (subject, actor), at_once);
    let told = tokio::select! {
        biased;
        () = std::future::ready(()), if at_once => Ok(()),
        end = &mut given_up => Err(end),
        told = telling.done() => told,
    };
    match told {
        Ok(()) => Ok(finish(doors, wish, (served, seat), (subject, actor), (places, telling))),
        Err(end) => {
            // What was told, or may have been, is taken back; the client need not wait for that.
            let doors = doors.clone();
            tokio::spawn(async move {
                telling.stop().await;
                farewell::tell(&doors, &served, &places, actor, false).await;
            });
            Err(end)
        }
    }
}

/// How the session goes on from what the client has, as far as this node knows.
fn finish(
    doors: &Doors,
    wish: Wish,
    (served, _seat): (Arc<Served>, Seat),
    (subject, actor): (Subject, Actor),
    (places, telling): (Vec<Place>, Telling),
) -> Attached {
    let all_known = places.iter().all(|place| is_known(doors, place));
    let (mode, snapshot) = match (wish.resumes, all_known) {
        (true, true) => (Mode::Replayed, false),
        (true, false) => (Mode::Snapshot, true),
        (false, all_known) => (Mode::New, !all_known),
    };
    let Wish { seq, holder, unacknowledged, .. } = wish;
    Attached {
        served,
        _seat,
        holder,
        subject,
        actor,
        places,
        telling,
        mode,
        seq,
        snapshot,
        unacknowledged,
    }
}

/// Whether this node has everything after what the client has of a site. Once the attachment is
/// applied here, everything that any node ever showed is here too: a cursor beyond that was never
/// given. One before what retention left is answered with state.
fn is_known(doors: &Doors, place: &Place) -> bool {
    let (first, last) = doors.replica.recorded(place.site);
    place.after.is_some_and(|after| after <= last && after + 1 >= first)
}

fn start(doors: &Doors, holder: Claims, cursors: Vec<Cursor>) -> Result<Wish, End> {
    let mut sites: Vec<SiteId> = match holder.site {
        Some(site) => vec![site],
        None if cursors.is_empty() => {
            doors.replica.directory().sites(holder.tenant).map(|row| row.site).collect()
        }
        None => cursors.iter().map(|cursor| cursor.site).collect(),
    };
    sites.sort_unstable();
    sites.dedup();
    let ours = |site: &SiteId| holder.tenant.is_none_or(|tenant| site.tenant == tenant);
    if !sites.iter().all(ours) {
        return Err(End::never("other-tenant", "a cursor names a site of another tenant"));
    }
    if sites.is_empty() || sites.len() > SITES_MAX {
        let detail = format!("a session reads 1 to {SITES_MAX} sites; name them with cursors");
        return Err(End::never("protocol", detail));
    }
    let session = SessionId(rotary_client::unique());
    let unacknowledged = BTreeSet::new();
    Ok(Wish { session, holder, sites, cursors, seq: 0, resumes: false, unacknowledged })
}

fn resume(doors: &Doors, token: &str, cursors: Vec<Cursor>, seq: u64) -> Result<Wish, End> {
    let ResumeClaims { session, sites, holder, .. } =
        doors.tokens.check_resume(token).map_err(bad_token)?;
    expect_unrevoked(doors, &holder).map_err(bad_token)?;
    let unacknowledged = BTreeSet::new();
    Ok(Wish { session, holder, sites, cursors, seq, resumes: true, unacknowledged })
}

/// Too many sockets of theirs are here; another node may have room.
pub(super) fn no_seat(budget: Budget) -> End {
    let told = |whose| format!("this node has as many sockets as it serves for one {whose}");
    let after_ms = spread(SEAT_PAUSE_MS);
    match budget {
        Budget::Caller => End::later("caller-over-budget", told("credential"), after_ms),
        Budget::Tenant | Budget::Shard => {
            End::later("tenant-over-budget", told("tenant"), after_ms)
        }
    }
}

fn bad_token(error: TokenError) -> End {
    End::never(error.word(), error.to_string())
}

pub(super) async fn places(doors: &Doors, wish: &Wish) -> Result<Vec<Place>, End> {
    let mut places = Vec::new();
    for site in wish.sites.iter().copied() {
        let shard = doors.shard_of(site).await.map_err(|problem| match problem.code {
            "site-unknown" => End::never("site-unknown", problem.detail),
            _ => End::resume("behind", problem.detail),
        })?;
        // While nobody leads, whoever begins can only wait elsewhere; who returns loses nothing.
        let unfit = if wish.resumes { Doors::is_behind } else { |d: &Doors, id| !d.is_fresh(id) };
        if unfit(doors, shard.id) {
            let detail = format!("this node has not heard from the leader of {}", shard.id);
            return Err(End::resume("behind", detail));
        }
        let cursor = wish.cursors.iter().find(|cursor| cursor.site == site);
        let after = cursor.map(|cursor| cursor.sequence);
        places.push(Place { site, after, standing: Standing::unknown() });
    }
    if wish.resumes && wish.holder.role != Role::Board {
        for place in &places {
            known_session(doors, place.site, wish.session).await?;
        }
    }
    Ok(places)
}

/// A session that returns must still be known; one that began elsewhere a moment ago may need a
/// moment to be known here.
pub(super) async fn known_session(
    doors: &Doors,
    site: SiteId,
    session: SessionId,
) -> Result<SessionView, End> {
    let deadline = tokio::time::Instant::now() + KNOWN_PATIENCE;
    loop {
        let shard = doors.replica.shard_of(site);
        match shard.and_then(|shard| shard.read().session_view(site, session)) {
            Some(view) if view.link == SessionLink::None => return Err(ended()),
            Some(view) => return Ok(view),
            None if tokio::time::Instant::now() >= deadline => return Err(ended()),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// What a session is resumed with.
pub(super) fn resume_token(
    doors: &Doors,
    session: SessionId,
    sites: &[SiteId],
    holder: &Claims,
) -> String {
    let exp = holder.exp.min(unix_s() + RESUME_TTL_S);
    let (sites, holder) = (sites.to_vec(), holder.clone());
    doors.tokens.sign_resume(&ResumeClaims { session, sites, holder, exp })
}

/// The frame that says that the session is on.
pub(crate) fn welcome(doors: &Doors, attached: &Attached) -> ServerFrame {
    let sites: Vec<SiteId> = attached.places.iter().map(|place| place.site).collect();
    let session = attached.served.session;
    ServerFrame::Welcome {
        session,
        subject: attached.subject,
        resume_token: resume_token(doors, session, &sites, &attached.holder),
        sites,
        mode: attached.mode,
        seq: attached.seq,
        gateways: doors.urls(),
        results: results(doors, attached),
    }
}

/// First results of the commands that the client names, as far as this node knows them. What is
/// not among them the client sends again, and is told that it is repeated if it was applied.
fn results(doors: &Doors, attached: &Attached) -> Vec<CommandResult> {
    let mut results = Vec::new();
    for Place { site, .. } in &attached.places {
        let site = *site;
        let Some(replica) = doors.replica.shard_of(site) else { continue };
        let replica = replica.read();
        let stays = stays_in(&replica, site);
        for (number, answer) in replica.session_answers(site, attached.served.session) {
            if attached.unacknowledged.contains(&CommandNumber { site, number }) {
                let stay = stays.iter().rev().find(|stay| stay.first <= answer.sequence.max(1));
                let shard = stay.map(|stay| stay.shard);
                let position = shard.map(|shard| Position { shard, index: answer.index });
                let result = CommandReply::Outcome(answer.outcome.clone());
                results.push(CommandResult { site, number, repeated: true, position, result });
            }
        }
    }
    results
}
