//! Commands about what must happen outside.

use rotary_proto::bot::{BotAnswer, BotPlan, BotThen};
use rotary_proto::effect::{EffectOutcome, EffectStart};
use rotary_proto::event::Topic;
use rotary_proto::ids::*;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::values::Item;
use rotary_proto::{Actor, Body, Command, Secret, ShardCommand, WebUrl, limits};

use crate::floor::Floor;
use crate::staff::{ADMIN, name};
use crate::trace::{conversation_name, target_word, time};
use crate::words::Words;

const TOPICS: [Topic; 9] = [
    Topic::Opened,
    Topic::Queued,
    Topic::Offered,
    Topic::OfferEnded,
    Topic::Assigned,
    Topic::Released,
    Topic::Posted,
    Topic::Ended,
    Topic::Closed,
];

impl Floor {
    /// Carries out a command of this file; whether it is one.
    pub(crate) fn reach_out(&mut self, words: &Words) -> bool {
        match words.verb.as_str() {
            "webhook" => self.webhook(words),
            "view" => {
                let node = |place| Some(NodeId(words.find(place)?.parse().expect("view 1 2")));
                let replicas = (0..8).map_while(node).collect();
                self.apply(ShardCommand::SetView { replicas });
                let view = self.shard.view();
                let line = format!("view {} of {:?}", view.epoch, view.replicas);
                self.say(line);
            }
            "outcome" => {
                let effect = words.at(0).parse().expect("ef_1.5.0");
                let outcome = outcome(words.at(1));
                let attempts = words.number("attempts").unwrap_or(1) as u32;
                let status = words.number("status").map(|status| status as u16);
                let start = words.option("by").map(|_| start(words));
                let command = Command::EndEffect { effect, outcome, attempts, status, start };
                self.ask(Actor::System, command);
            }
            "start" => {
                let effect = words.at(0).parse().expect("ef_1.5.0");
                let start = start(words);
                self.ask(Actor::System, Command::StartEffect { effect, start });
            }
            "bot" => self.bot(words),
            "answer" => self.answer(words),
            "effects" => self.list_effects(),
            _ => return false,
        }
        true
    }

    /// `webhook 1 opened,closed give-up=1h enabled=no secret=no`
    fn webhook(&mut self, words: &Words) {
        let webhook = WebhookId(words.at(0).parse().expect("webhook 1"));
        let topics = words.find(1).unwrap_or_default().split(',').filter(|word| !word.is_empty());
        let topics = topics.map(|word| {
            let known =
                TOPICS.into_iter().find(|topic| topic.word().ends_with(&format!(".{word}")));
            known.unwrap_or_else(|| panic!("{word:?} is no topic"))
        });
        let give_up_ms = words.duration("give-up").unwrap_or(limits::WEBHOOK_GIVE_UP_DEFAULT_MS);
        let plan = WebhookPlan {
            name: name("hook"),
            url: WebUrl::new("https://example.com/hook").expect("valid"),
            topics: topics.collect(),
            give_up_ms,
            enabled: words.option("enabled") != Some("no"),
        };
        let secret = Secret::new(vec![7; limits::SECRET_BYTES_MIN]).expect("long enough");
        let secret = (words.option("secret") != Some("no")).then_some(secret);
        self.ask(ADMIN, Command::PutWebhook { webhook, plan, secret });
    }

    /// `bot sales turn=20s secret=no gone=yes`
    fn bot(&mut self, words: &Words) {
        let queue = self.queue(words.at(0));
        let url = WebUrl::new("https://example.com/bot").expect("valid");
        let turn_ms = words.duration("turn").unwrap_or(limits::BOT_TURN_DEFAULT_MS);
        let plan = words.option("gone").is_none().then_some(BotPlan { url, turn_ms });
        let secret = Secret::new(vec![7; limits::SECRET_BYTES_MIN]).expect("long enough");
        let secret = (words.option("secret") != Some("no")).then_some(secret);
        self.ask(ADMIN, Command::PutBot { queue, plan, secret });
    }

    /// `answer ef_1.5.16 say="hello" times=2 then=close queue=sales`
    fn answer(&mut self, words: &Words) {
        let effect = words.at(0).parse().expect("ef_1.5.16");
        let text = words.option("say").unwrap_or_default().to_owned();
        let times = words.number("times").unwrap_or(u64::from(!text.is_empty()));
        let item = |floor: &mut Self| {
            let fresh = format!("i{}", floor.names.items.0.len() + 1);
            Item {
                id: ItemId(u128::from(floor.names.items.number(&fresh))),
                body: Body::plain(&text).expect("short"),
            }
        };
        let messages = (0..times).map(|_| item(self)).collect();
        let queue = words.option("queue").map(|name| self.queue(name));
        let then = match words.option("then") {
            Some("close") => BotThen::Close,
            Some("hand-over") => BotThen::HandOver { queue },
            _ => BotThen::Wait,
        };
        let answer = Box::new(BotAnswer { messages, then });
        let command = Command::EndTurn { effect, attempts: 1, status: 200, answer };
        self.ask(Actor::System, command);
    }

    fn list_effects(&mut self) {
        let pending = self.shard.effects(self.site, None, 1_000).expect("the site exists");
        if pending.is_empty() {
            self.say("nothing waits".to_owned());
        }
        for effect in pending {
            let conversation = conversation_name(self, effect.conversation);
            let until = time(effect.until);
            let (id, target, sequence) = (effect.id, effect.target, effect.sequence);
            let target = target_word(self, target);
            let begun = effect.started.map_or(String::new(), |start| {
                format!(", begun by {} run {} under {}", start.owner, start.run, start.epoch)
            });
            let line = format!("{id} {target} event {sequence} of {conversation}, until {until}");
            self.say(format!("{line}{begun}"));
        }
    }
}

/// `by=1 run=1 epoch=1`
fn start(words: &Words) -> EffectStart {
    let number = |key| words.number(key).unwrap_or(1);
    EffectStart { owner: NodeId(number("by")), run: number("run"), epoch: number("epoch") }
}

fn outcome(word: &str) -> EffectOutcome {
    match word {
        "sent" => EffectOutcome::Sent,
        "not-sent" => EffectOutcome::NotSent,
        "unknown" => EffectOutcome::Unknown,
        other => panic!("{other:?} is no outcome"),
    }
}
