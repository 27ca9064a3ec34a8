//! Who subscribes to what: filters into the router and out of it, and who takes a topic.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::MqttChange;

use super::grant::Grant;
use super::queue::encode_identifier;
use super::rights::{Aim, Rights};
use super::session::Session;
use super::topics::{FilterRefused, check_filter};
use super::{Mqtt, Taker};

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone)]
pub struct SubscribeRequest<'a> {
    pub filter: &'a str,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// 0: send what is retained, 1: only if the subscription is new, 2: do not (MQTT 5 §3.8.3.1).
    pub retain_handling: u8,
    /// 0: none.
    pub identifier: u32,
}

impl Mqtt {
    /// Subscribes; answers the QoS that is granted. `changes` gets what is to be stored before that is said.
    ///
    /// # Errors
    /// See [`FilterRefused`].
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        rights: &Rights,
        request: &SubscribeRequest<'_>,
        changes: &mut Vec<MqttChange>,
    ) -> Result<u8, FilterRefused> {
        let filter = request.filter;
        check_filter(filter)?;
        if !rights.may_subscribe(filter) {
            return Err(FilterRefused::NotAllowed);
        }
        let grant = Grant {
            qos: request.qos.min(2),
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
            identifier: request.identifier,
        };
        let before = session
            .subscribe(filter, grant)
            .map_err(|_| FilterRefused::TooMany)?;
        if before.is_some() {
            self.unroute_one(session, filter);
        }
        self.route(session, filter, grant);
        if let Some(number) = session.persistent() {
            changes.push(MqttChange::Subscribed {
                session: number,
                filter: filter.to_owned(),
                options: grant.options(),
                identifier: grant.identifier,
            });
        }
        if request.retain_handling == 0 || (request.retain_handling == 1 && before.is_none()) {
            let retained = self.0.retained.lock().matching(filter, self.now_ms());
            if !retained.is_empty() {
                session.offer_retained(retained.into_iter(), grant, super::RETAINED_MAX);
            }
        }
        self.dispatch_to(session);
        Ok(grant.qos)
    }

    /// Unsubscribes; answers whether there was such a subscription.
    pub fn unsubscribe(
        &self,
        session: &Arc<Session>,
        filter: &str,
        changes: &mut Vec<MqttChange>,
    ) -> bool {
        let there_was = session.unsubscribe(filter);
        if there_was {
            self.unroute_one(session, filter);
            if let Some(number) = session.persistent() {
                changes.push(MqttChange::Unsubscribed {
                    session: number,
                    filter: filter.to_owned(),
                });
            }
        }
        there_was
    }

    pub(super) fn route(&self, session: &Arc<Session>, filter: &str, grant: Grant) {
        let taker = Taker {
            session: Arc::clone(session),
            grant,
            aim: Aim::of(filter),
        };
        self.0.router.write().insert(filter, taker);
        self.0.listening.fetch_add(1, Ordering::Relaxed);
    }

    fn unroute_one(&self, session: &Arc<Session>, filter: &str) {
        self.0
            .router
            .write()
            .remove(filter, |taker| Arc::ptr_eq(&taker.session, session));
        self.0.listening.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn unroute(&self, session: &Arc<Session>) {
        for (filter, _) in session.subscriptions() {
            session.unsubscribe(&filter);
            self.unroute_one(session, &filter);
        }
    }

    /// Who takes this topic, each session once: with its highest QoS and all its identifiers.
    pub(super) fn takers(&self, topic: &str) -> Vec<(Taker, Box<[u8]>)> {
        let mut takers: Vec<(Taker, Box<[u8]>)> = Vec::new();
        self.0.router.read().each(topic, |taker| {
            let identifier = encode_identifier(taker.grant.identifier);
            let known = takers
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(&known.session, &taker.session));
            match known {
                Some((known, identifiers)) => {
                    known.grant.qos = known.grant.qos.max(taker.grant.qos);
                    known.grant.retain_as_published |= taker.grant.retain_as_published;
                    known.grant.no_local &= taker.grant.no_local;
                    known.aim = known.aim.max(taker.aim);
                    *identifiers = [&**identifiers, &*identifier].concat().into();
                }
                None => takers.push((taker.clone(), identifier)),
            }
        });
        takers
    }
}
