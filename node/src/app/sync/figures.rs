//! What sync counts, for Prometheus.

use sync_engine::Counters;
use sync_quic::SyncNode;

use crate::app::App;
use crate::app::proof::FAULTS_TOTAL;

impl App {
    /// What sync counted since it began; `None` while this node does not sync.
    pub fn sync_counters(&self) -> Option<Counters> {
        self.sync.get().map(SyncNode::counters)
    }

    /// Gives what sync counted to the figures for Prometheus.
    pub fn publish_sync_counters(&self) {
        // Counted where a fault is recorded; the first scrape knows it already.
        metrics::counter!(FAULTS_TOTAL).increment(0);
        let Some(counters) = self.sync_counters() else {
            return;
        };
        for (why, count) in [
            ("signature", counters.refused_signature),
            ("chain", counters.refused_chain),
            ("author", counters.refused_author),
            ("operation", counters.refused_operation),
            ("record", counters.refused_records),
            ("protocol", counters.refused_protocol),
            ("frame", counters.refused_frames),
            ("flow", counters.refused_flow),
        ] {
            metrics::counter!("muster_sync_refused_total", "why" => why).absolute(count);
        }
        for (what, count) in [
            ("sent", counters.sent_bytes),
            ("received", counters.received_bytes),
        ] {
            metrics::counter!("muster_sync_bytes_total", "direction" => what).absolute(count);
        }
        for (how, count) in [
            ("packed", counters.sent_packed_runs),
            ("plain", counters.sent_runs - counters.sent_packed_runs),
        ] {
            metrics::counter!("muster_sync_runs_sent_total", "form" => how).absolute(count);
        }
        let asked_again = counters.unresolved_runs + counters.wrong_rebuilds;
        metrics::counter!("muster_sync_runs_asked_for_plain_total").absolute(asked_again);
        metrics::counter!("muster_sync_runs_of_unknown_authors_dropped_total")
            .absolute(counters.waiting_dropped);
        metrics::counter!("muster_sync_frames_unknown_total").absolute(counters.unknown_frames);
        metrics::counter!("muster_sync_entries_stored_total").absolute(counters.stored_entries);
        metrics::counter!("muster_sync_forks_seen_total").absolute(counters.forks_seen);
        metrics::counter!("muster_sync_marks_agreed_total").absolute(counters.marks_agreed);
        metrics::counter!("muster_sync_short_greetings_total").absolute(counters.short_greetings);
        for (result, count) in [
            ("equal", counters.proofs_equal),
            ("differs", counters.proof_faults),
            ("void", counters.proofs_void),
        ] {
            metrics::counter!("muster_sync_proofs_total", "result" => result).absolute(count);
        }
    }
}
