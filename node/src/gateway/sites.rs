//! Sites, and the names of their skills, reasons and dispositions.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_directory::{DirectoryCommand, DirectoryDone, SiteMoving};
use rotary_proto::query::{Named, SiteView};
use rotary_proto::{
    Command, DispositionId, Name, ReasonId, ShardCommand, ShardId, SiteId, SiteSettings, SkillId,
    TenantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{Decided, Doors};
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Made, Nothing, Page, Reading};
use crate::gateway::problem::Problem;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSite {
    tenant: TenantId,
    settings: SiteSettings,
    #[serde(default)]
    shard: Option<ShardId>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Placed {
    site: SiteId,
    shard: ShardId,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Site")]
pub(crate) struct SiteJson {
    site: SiteId,
    shard: ShardId,
    name: Name,
    /// Where it is to live instead, if it is, or did not get.
    moving: Option<MovingJson>,
}

/// A site's way to another shard.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SiteMoving")]
pub(crate) struct MovingJson {
    to: ShardId,
    /// Why it lives where it was, if it does. It is not tried again.
    failed: Option<String>,
}

/// Where a site is to live.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardBody {
    shard: ShardId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameBody {
    name: Name,
}

/// `POST /v1/sites`: placed by the directory first, then made in its shard. A request that is cut
/// off between the two is mended by repeating it.
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(NewSite { tenant, settings, shard }): Json<NewSite>,
) -> Result<Made<Placed>, Problem> {
    permit(&claims, Action::CreateSite(tenant))?;
    settings.check().map_err(|bad| Problem::bad_value(bad.to_string()))?;
    let command = DirectoryCommand::CreateSite { tenant, name: settings.name.clone(), shard };
    let placed = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::Site { site, shard } = placed.done else {
        return Err(Problem::other_request());
    };
    let command = ShardCommand::CreateSite { site, settings };
    let position = doors.create_site(&claims, shard, &command, key).await?;
    let decided = Decided { position, ..placed };
    Ok(decided.answer(|_| Placed { site, shard }))
}

/// `GET /v1/sites`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<AxumJson<Page<SiteJson>>, Problem> {
    permit(&claims, Action::ListPlaces)?;
    let directory = doors.replica.directory();
    let rows = directory.sites(claims.tenant);
    let seen = rows.filter(|row| claims.site.is_none_or(|own| own == row.site));
    let rows = seen.map(|row| {
        let moving = directory.moving_of(row.site);
        let moving = moving
            .map(|SiteMoving { to, failed, .. }| MovingJson { to: *to, failed: failed.clone() });
        SiteJson { site: row.site, shard: row.shard, name: row.name, moving }
    });
    Ok(AxumJson(Page::whole(rows.collect())))
}

/// `GET /v1/sites/{site}`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<SiteView>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let view = doors.shard_to_read(site, reading.consistency).await?.read().site_view(site);
    view.map(AxumJson).ok_or_else(|| unmade(site))
}

/// `PUT /v1/sites/{site}/settings`
pub(crate) async fn put(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Key(key): Key,
    Json(settings): Json<SiteSettings>,
) -> Result<Changed<Nothing>, Problem> {
    let decided = doors.ask(&claims, key, site, Command::PutSite { settings }).await?;
    Ok(decided.answer(|_| Nothing {}))
}

/// `PUT /v1/sites/{site}/shard`
pub(crate) async fn relocate(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Key(key): Key,
    Json(ShardBody { shard }): Json<ShardBody>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::MoveSite { site, to: shard }).await
}

/// `DELETE /v1/sites/{site}/shard`
pub(crate) async fn stay(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Key(key): Key,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::CancelMove { site }).await
}

/// A site that the directory knows and its shard on this node does not, yet.
pub(crate) fn unmade(site: SiteId) -> Problem {
    Problem::unavailable(format!("{site} is being made; try again in a moment"))
}

/// A kind of named thing of a site.
pub(crate) trait Nameable: Sized {
    /// The command that names one.
    fn command(self, name: Name) -> Command;
    /// All of a site, if the site is there.
    fn list(shard: &rotary_distributor::Shard, site: SiteId) -> Option<Vec<Named<Self>>>;
}

impl Nameable for SkillId {
    fn command(self, name: Name) -> Command {
        Command::PutSkill { skill: self, name }
    }
    fn list(shard: &rotary_distributor::Shard, site: SiteId) -> Option<Vec<Named<Self>>> {
        shard.skills(site)
    }
}

impl Nameable for ReasonId {
    fn command(self, name: Name) -> Command {
        Command::PutReason { reason: self, name }
    }
    fn list(shard: &rotary_distributor::Shard, site: SiteId) -> Option<Vec<Named<Self>>> {
        shard.reasons(site)
    }
}

impl Nameable for DispositionId {
    fn command(self, name: Name) -> Command {
        Command::PutDisposition { disposition: self, name }
    }
    fn list(shard: &rotary_distributor::Shard, site: SiteId) -> Option<Vec<Named<Self>>> {
        shard.dispositions(site)
    }
}

/// `PUT /v1/sites/{site}/skills/{skill}` and its like
pub(crate) async fn put_name<T: Nameable>(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, id)): Ids<(SiteId, T)>,
    Key(key): Key,
    Json(NameBody { name }): Json<NameBody>,
) -> Result<Changed<Nothing>, Problem>
where
    Ids<(SiteId, T)>: axum::extract::FromRequestParts<Doors>,
{
    let decided = doors.ask(&claims, key, site, id.command(name)).await?;
    Ok(decided.answer(|_| Nothing {}))
}

/// `GET /v1/sites/{site}/skills` and its like
pub(crate) async fn list_names<T: Nameable>(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<Page<Named<T>>>, Problem> {
    permit(&claims, Action::SeeNames(site))?;
    let shard = doors.shard_to_read(site, reading.consistency).await?;
    let names = T::list(&shard.read(), site).ok_or_else(|| unmade(site))?;
    Ok(AxumJson(Page::whole(names)))
}
