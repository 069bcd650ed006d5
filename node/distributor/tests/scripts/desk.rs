//! Commands about conversations, and what is shown.

use std::collections::BTreeMap;

use rotary_proto::ids::*;
use rotary_proto::values::Item;
use rotary_proto::{
    Actor, Attachment, Attributes, BlobId, Body, Channel, Command, MailParty, MediaType, Sealed,
};

use crate::floor::Floor;
use crate::staff::priority;
use crate::trace;
use crate::words::Words;

impl Floor {
    /// Carries out a command of this file; whether it is one.
    pub(crate) fn serve(&mut self, words: &Words) -> bool {
        match words.verb.as_str() {
            "open" => self.open(words),
            "accept" => {
                let (actor, conversation) = self.pair(words);
                let offer = self.offer(words, conversation);
                self.ask(actor, Command::Accept { conversation, offer });
            }
            "decline" => {
                let (actor, conversation) = self.pair(words);
                let offer = self.offer(words, conversation);
                let reason = words.option("reason").map(|word| self.reason(word));
                self.ask(actor, Command::Decline { conversation, offer, reason });
            }
            "post" | "note" => self.post(words),
            "hold" => {
                let (actor, conversation) = self.pair(words);
                self.ask(actor, Command::Hold { conversation });
            }
            "retrieve" => {
                let (actor, conversation) = self.pair(words);
                self.ask(actor, Command::Retrieve { conversation });
            }
            "requeue" => {
                let (actor, conversation) = self.pair(words);
                let queue = words.option("queue").map(|name| self.queue(name));
                let priority = priority(words);
                self.ask(actor, Command::Requeue { conversation, queue, priority });
            }
            "hand-over" => {
                let (actor, conversation) = self.pair(words);
                let queue = words.option("queue").map(|name| self.queue(name));
                self.ask(actor, Command::HandOver { conversation, queue });
            }
            "close" => {
                let (actor, conversation) = self.pair(words);
                self.ask(actor, Command::Close { conversation });
            }
            "abandon" => {
                let (actor, conversation) = self.pair(words);
                self.ask(actor, Command::Abandon { conversation });
            }
            "wrap-up" => self.wrap_up(words),
            "show" => self.show(words),
            "obstacle" => {
                let conversation = self.conversation(words.at(1));
                let agent = self.agent(words.at(0));
                let found = self.shard.obstacle(conversation, agent);
                self.say(found.map_or("offerable".to_owned(), |found| format!("{found:?}")));
            }
            _ => return false,
        }
        true
    }

    fn pair(&mut self, words: &Words) -> (Actor, ConversationId) {
        (self.who(words.at(0)), self.conversation(words.at(1)))
    }

    /// The offer that a command names; the one that stands if it names none.
    fn offer(&mut self, words: &Words, conversation: ConversationId) -> OfferId {
        use rotary_proto::query::Stage;
        if let Some(text) = words.option("offer") {
            return text.parse().expect("of_1");
        }
        let view = self.shard.conversation_view(conversation);
        match view.map(|view| view.stage) {
            Some(Stage::Offered { offer, .. }) => offer,
            _ => OfferId(0),
        }
    }

    fn open(&mut self, words: &Words) {
        let conversation = self.conversation(words.at(0));
        let queue = self.queue(words.at(1));
        let word = words.find(2).unwrap_or("chat");
        let channel = Channel::ALL.into_iter().find(|channel| channel.word() == word);
        let skills = self.skills(words);
        let customer = words.option("customer").map(|name| self.customer(name));
        let attributes = words.options().filter_map(|(key, value)| {
            Some((key.strip_prefix("attr.")?.to_owned(), value.to_owned()))
        });
        let attributes = Attributes(attributes.collect::<BTreeMap<_, _>>());
        let item = words.option("say").map(str::to_owned);
        let item = item.map(|text| self.item(&format!("first of {}", words.at(0)), &text));
        let command = Command::Open {
            conversation,
            queue,
            channel: channel.unwrap_or_else(|| panic!("{word:?} is no channel")),
            priority: priority(words),
            skills,
            customer,
            attributes,
            item,
            mail: mail(words).map(Box::new),
        };
        self.ask(Actor::System, command);
    }

    fn item(&mut self, name: &str, text: &str) -> Item {
        let id = ItemId(u128::from(self.names.items.number(name)));
        let bytes = vec![0x78; 20_000];
        let text = match text {
            "<too long>" => Sealed { format: 0, key: 0, bytes },
            text => Sealed::plain(text).expect("short"),
        };
        let file = || Attachment {
            blob: BlobId([7; 32]),
            name: None,
            media_type: MediaType::new("image/png").expect("valid"),
            bytes: 7,
        };
        let attachments = if name.ends_with("+file") { vec![file()] } else { Vec::new() };
        Item { id, body: Body { text, attachments } }
    }

    fn post(&mut self, words: &Words) {
        let (actor, conversation) = self.pair(words);
        let fresh = format!("i{}", self.names.items.0.len() + 1);
        let item = self.item(words.option("id").unwrap_or(&fresh), words.at(2));
        let seen_to = words.number("seen_to").map(|ordinal| ordinal as u32);
        let note = words.verb == "note";
        self.ask(actor, Command::Post { conversation, item, note, seen_to });
    }

    fn wrap_up(&mut self, words: &Words) {
        let (actor, conversation) = self.pair(words);
        let disposition = words.find(2).map(str::to_owned).map(|word| self.disposition(&word));
        let note = words.option("note").map(|text| Sealed::plain(text).expect("short"));
        self.ask(actor, Command::WrapUp { conversation, disposition, note });
    }

    fn disposition(&mut self, word: &str) -> DispositionId {
        if let Ok(id) = word.parse() {
            return id;
        }
        let fresh = !self.names.dispositions.has(word);
        let disposition = DispositionId(self.names.dispositions.number(word) as u16);
        if fresh {
            let name = crate::staff::name(word);
            self.whisper(Command::PutDisposition { disposition, name });
        }
        disposition
    }

    fn show(&mut self, words: &Words) {
        let line = match (words.at(0), words.find(1).map(str::to_owned)) {
            ("site", _) => trace::site(self),
            ("next", _) => trace::next(self),
            ("leases", _) => trace::leases(self),
            ("names", _) => trace::names(self),
            ("queue", Some(name)) => {
                let queue = self.queue(&name);
                trace::queue(self, queue)
            }
            ("session", Some(name)) => {
                let session = self.session(&name);
                trace::session(self, session)
            }
            ("customer", Some(name)) => {
                let customer = self.customer(&name);
                trace::customer(self, customer)
            }
            (name, _) if self.names.agents.has(name) => {
                let agent = self.agent(name);
                trace::agent(self, agent)
            }
            (name, _) => {
                let conversation = self.conversation(name);
                trace::conversation(self, conversation)
            }
        };
        self.say(line);
    }
}

/// `mail=ana@example.com subject=Hello`
fn mail(words: &Words) -> Option<MailParty> {
    let sealed = |text: &str| Sealed::plain(text).expect("short");
    let address = sealed(words.option("mail")?);
    let subject = sealed(words.option("subject").unwrap_or("Hello"));
    Some(MailParty { address, subject, message_id: None })
}
