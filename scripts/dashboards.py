#!/usr/bin/env python3
"""Writes the dashboards of config/grafana/ from the tables below.

    scripts/dashboards.py            # writes them
    scripts/dashboards.py --check    # says which differ from what it would write

A panel is a line of these tables: what it shows, its unit, and its queries. Layout, ids, colours
and variables follow from that, the same on every dashboard. Python's standard library is enough.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "config" / "grafana"
COLUMNS, HEIGHT, STAT_HEIGHT = 24, 8, 4
CORE = 'job="rotary", cluster=~"$cluster"'
ANY = 'job=~"rotary|rotary-gateways", cluster=~"$cluster"'
ALL = 'cluster=~"$cluster"'
SHARD = 'cluster=~"$cluster", shard=~"$shard"'
SITE = 'cluster=~"$cluster", site=~"$site"'


def rate(metric, by, where=ALL):
    """What comes each second, by some labels."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def newest(metric, by, where=SITE):
    """A replica may be behind, so figures of a site are those of whoever has the highest."""
    return f"max by ({by}) ({metric}{{{where}}})"


def quantile(of, by=""):
    """A quantile of the time that commands take."""
    labels = f"le, {by}" if by else "le"
    buckets = rate("rotary_command_commit_seconds_bucket", labels)
    return f"histogram_quantile({of}, {buckets})"


def series(title, about, unit, *targets, width=8, stack=False, most=None):
    """A panel of lines over time."""
    custom = {"lineWidth": 1, "fillOpacity": 20 if stack else 5, "showPoints": "never"}
    custom["stacking"] = {"mode": "normal" if stack else "none", "group": "A"}
    defaults = {"unit": unit, "min": 0, "custom": custom}
    if most is not None:
        defaults["max"] = most
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, about, defaults, options, targets, width, HEIGHT)


def figure(title, about, unit, query, good_from=None, bad_from=None, width=4, text=None):
    """A panel of one figure, green or red."""
    steps = [{"color": "text", "value": None}]
    if bad_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad_from}]
    if good_from is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": good_from}]
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if text is not None:
        defaults["noValue"] = text
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, about, defaults, options, [(query, "")], width, STAT_HEIGHT)


def panel(kind, title, about, defaults, options, targets, width, height):
    """A panel without a place or an id, which `dashboard` gives it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    asked = [
        {"refId": chr(ord("A") + at), "datasource": source, "expr": query, "legendFormat": legend}
        for at, (query, legend) in enumerate(targets)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": source,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": asked,
        "gridPos": {"w": width, "h": height},
    }


def placed(rows):
    """Panels from left to right and from top to bottom, under the heads of their rows."""
    found, top = [], 0
    for head, panels in rows:
        found.append({
            "type": "row", "title": head, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        })
        top, left, low = top + 1, 0, 0
        for each in panels:
            size = each["gridPos"]
            if left + size["w"] > COLUMNS:
                top, left, low = top + low, 0, 0
            size.update(x=left, y=top)
            left, low = left + size["w"], max(low, size["h"])
            found.append(each)
        top += low
    for at, each in enumerate(found, 1):
        each["id"] = at
    return found


def variable(name, label, metric, where=""):
    """A choice among the values that a label has."""
    query = f"label_values({metric}{where}, {name})"
    return {
        "name": name, "label": label, "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": query, "query": {"query": query, "refId": name},
        "includeAll": True, "allValue": ".*", "multi": True, "refresh": 2, "sort": 3,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard(name, title, about, rows, *variables):
    """What Grafana imports."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource"}
    source.update(query="prometheus", current={}, refresh=1)
    cluster = variable("cluster", "Cluster", "rotary_build_info")
    links = {"type": "dashboards", "title": "Rotary", "tags": ["rotary"], "asDropdown": True}
    links.update(includeVars=True, keepTime=True, icon="external link")
    return name, {
        "uid": name, "title": title, "description": about, "tags": ["rotary"],
        "schemaVersion": 38, "version": 1, "editable": True, "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"}, "refresh": "30s", "timezone": "",
        "links": [links], "annotations": {"list": []},
        "templating": {"list": [source, cluster, *variables]},
        "panels": placed(rows),
    }


def overview():
    """What to look at first."""
    health = [
        figure("Core nodes", "Core nodes that answer.", "none", f"sum(up{{{CORE}}})", text="0"),
        figure("Core nodes away", "Core nodes that could not be scraped.", "none",
               f"sum(1 - up{{{CORE}}})", bad_from=1),
        figure("Shards without a leader", "Their sites take no commands. An election takes a "
               "second.", "none",
               f"sum(sum by (cluster, shard) (rotary_raft_leader{{{ALL}}}) == bool 0)",
               bad_from=1),
        figure("Replicas that differ", "Shards with an index at which no majority agrees. "
               "Anything but 0 wants a person.", "none",
               f"sum(rotary_raft_doubtful_index{{{ALL}}} > bool 0)", bad_from=1),
        figure("Disks full", "Nodes that refuse new work because their disk has no room.", "none",
               f"sum(rotary_disk_full{{{ALL}}})", bad_from=1),
        figure("Builds", "Versions that nodes run. More than one while an upgrade is under way.",
               "none", f"count(count by (version) (rotary_build_info{{{ALL}}}))", bad_from=2),
    ]
    work = [
        series("Commands", "What nodes proposed, by what became of it.", "ops",
               (rate("rotary_commands_total", "result"), "{{result}}"), stack=True),
        series("Time to the answer of a command", "From proposing to the answer: a majority's "
               "disks, and applying.", "s", (quantile(0.5), "half"), (quantile(0.9), "9 of 10"),
               (quantile(0.99), "99 of 100")),
        series("Refused at the door", "Commands without a permit, by what was used up. They were "
               "not done.", "ops",
               (rate("rotary_admission_refused_total", "budget"), "{{budget}}")),
        series("Waiting conversations", "In a queue and not on offer, by site.", "none",
               (f"sum by (site) ({newest('rotary_queue_waiting', 'site, queue', ALL)})",
                "{{site}}"), stack=True),
        series("Agents ready", "Declared ready, with a live session.", "none",
               (newest("rotary_agents_ready", "site", ALL), "{{site}}"), stack=True),
        series("Live sockets", "Of agents, customers and supervisors.", "none",
               (f"sum by (kind) (rotary_sessions{{{ALL}}})", "{{kind}}"), stack=True),
    ]
    nodes = [
        series("Nodes that answer", "1 where a node could be scraped.", "none",
               (f"up{{{ANY}}}", "{{instance}}"), most=1),
        series("Shards led", "By node. Leaders are spread evenly within minutes.", "none",
               (f"sum by (instance) (rotary_raft_leader{{{ALL}}})", "{{instance}}"), stack=True),
        series("Requests", "HTTP requests answered, by status.", "reqps",
               (rate("rotary_http_requests_total", "status"), "{{status}}"), stack=True),
        series("Processor", "Of each node's process, in cores.", "none",
               (f"sum by (instance) (rate(process_cpu_seconds_total{{{ANY}}}[$__rate_interval]))",
                "{{instance}}")),
        series("Memory", "Of each node's process.", "bytes",
               (f"process_resident_memory_bytes{{{ANY}}}", "{{instance}}")),
        series("Open files", "Of each node's process, of those that it may have.", "percentunit",
               (f"process_open_fds{{{ANY}}} / process_max_fds{{{ANY}}}", "{{instance}}")),
        series("Age", "How long each node's process has run.", "s",
               (f"time() - process_start_time_seconds{{{ANY}}}", "{{instance}}")),
        series("Clocks", "How far nodes' clocks are ahead, as others see them.", "s",
               (f"abs(rotary_clock_ahead_seconds{{{ALL}}})", "{{node}} from {{instance}}")),
        series("Certificates", "How long they are good yet: those shown to other nodes, and to "
               "clients.", "s", (f"rotary_certificate_remaining_seconds{{{ALL}}}",
                                 "{{certificate}} {{instance}}")),
    ]
    about = "Whether the cluster is well, what it does, and where to look next."
    rows = [("Health", health), ("Work", work), ("Nodes", nodes)]
    return dashboard("rotary-overview", "Rotary: overview", about, rows)


def shards():
    """Agreement, journals and disks."""
    raft = [
        series("Leaders", "Who leads each shard. Two lines above 0 for a moment are a hand-over.",
               "none", (f"rotary_raft_leader{{{SHARD}}} == 1", "{{shard}} {{instance}}"), most=1),
        series("Elections", "Terms begun in five minutes.", "none",
               (f"max by (shard) (rotary_raft_term{{{SHARD}}}) - "
                f"max by (shard) (rotary_raft_term{{{SHARD}}} offset 5m)", "{{shard}}")),
        series("Leaders moved", "Shards handed to nodes that led fewer, a second.", "ops",
               (rate("rotary_raft_leaders_moved_total", "instance"), "{{instance}}")),
        series("Entries", "Entries applied a second, by shard.", "ops",
               (f"max by (shard) (rate(rotary_raft_applied_index{{{SHARD}}}[$__rate_interval]))",
                "{{shard}}"), stack=True),
        series("Entries to apply", "How far a replica is behind the longest log.", "none",
               (f"max by (cluster, shard) (rotary_raft_last_index{{{SHARD}}}) - on (cluster, shard)"
                f" group_right () rotary_raft_applied_index{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("Frozen sites", "Sites that take no changes after a fault.", "none",
               (f"max by (shard) (rotary_sites_frozen{{{SHARD}}})", "{{shard}}")),
        series("Members unsettled", "1 while who keeps a shard is not who is wanted.", "none",
               (f"max by (shard) (rotary_members_unsettled{{{SHARD}}})", "{{shard}}"), most=1),
        series("Without a vote", "1 while a node's log lacks its tail.", "none",
               (f"rotary_raft_cut{{{SHARD}}}", "{{shard}} {{instance}}"), most=1),
        series("Views", "How often which replicas live has changed, in five minutes.", "none",
               (f"max by (shard) (rotary_view_epoch{{{SHARD}}}) - "
                f"max by (shard) (rotary_view_epoch{{{SHARD}}} offset 5m)", "{{shard}}")),
        series("Read indexes", "Reads that must see everything acknowledged before, and the rounds "
               "that they shared.", "ops", (rate("rotary_raft_reads_total", "", SHARD), "reads"),
               (rate("rotary_raft_read_rounds_total", "", SHARD), "rounds")),
        series("Doubtful index", "An index at which replicas differ and no majority agrees.",
               "none", (f"rotary_raft_doubtful_index{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("Logic", "The version of the routing logic that each shard acts by, and the newest "
               "that every node's build can apply.", "none",
               (f"min by (shard) (rotary_shard_logic_version{{{SHARD}}})", "{{shard}}"),
               (f"min(rotary_build_logic_version{{{ALL}}})", "builds")),
        series("Sites moved", "Moves of sites to other shards that ended, a second.", "ops",
               (rate("rotary_site_moves_total", "result"), "{{result}}")),
        series("Pause of a site that moves", "From its freezing until the other shard has taken "
               "it. Half of them take less.", "s",
               (f"histogram_quantile(0.5, sum by (le) "
                f"(rate(rotary_site_move_seconds_bucket{{{ALL}}}[$__rate_interval])))", "half"),
               (f"histogram_quantile(0.99, sum by (le) "
                f"(rate(rotary_site_move_seconds_bucket{{{ALL}}}[$__rate_interval])))", "99%")),
    ]
    logs = [
        series("Log kept", "Entries between what the log has forgotten and its end.", "none",
               (f"rotary_raft_last_index{{{SHARD}}} - rotary_raft_forgotten_index{{{SHARD}}}",
                "{{shard}} {{instance}}")),
        series("Entries since the snapshot", "They are applied again when a node starts.", "none",
               (f"rotary_raft_last_index{{{SHARD}}} - rotary_raft_snapshot_index{{{SHARD}}}",
                "{{shard}} {{instance}}")),
        series("Journal not yet on disk", "Indexes whose events are in the journal and not yet on "
               "the node's disk.", "none",
               (f"rotary_journal_appended_index{{{SHARD}}}"
                f" - rotary_journal_durable_index{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("Events recorded", "Events appended to a node's journal.", "ops",
               (rate("rotary_journal_appended_total", "instance", SHARD), "{{instance}}")),
        series("History fetched", "1 while a node fetches what was before its snapshot.", "none",
               (f"rotary_journal_missing{{{SHARD}}}", "{{shard}} {{instance}}"), most=1),
        series("Recorded by node", "The index up to which each node has logged that its journal is "
               "on its disk.", "none",
               (f"max by (shard, node) (rotary_journal_marked_index{{{SHARD}}})",
                "{{shard}} {{node}}")),
    ]
    disks = [
        series("No room", "1 while a node refuses new work for want of room.", "none",
               (f"rotary_disk_full{{{ALL}}}", "{{instance}}"), most=1),
        series("Free", "Bytes that may still be written to each node's disk.", "bytes",
               (f"rotary_disk_free_bytes{{{ALL}}}", "{{instance}}")),
        series("Time of a sync of the log", "Half of them take less; every command waits for one "
               "on a majority.", "s",
               (f"histogram_quantile(0.5, sum by (instance, le) "
                f"(rate(rotary_log_sync_seconds_bucket{{{ALL}}}[$__rate_interval])))",
                "{{instance}}")),
        series("Dropped by retention", "Bytes of journal segments.", "Bps",
               (rate("rotary_journal_dropped_bytes_total", "instance", SHARD), "{{instance}}")),
        series("Retention that failed", "What should be gone by now is kept.", "ops",
               (rate("rotary_retention_failures_total", "instance"), "{{instance}}")),
        series("Attached files", "Bytes that they take on each disk.", "bytes",
               (f"rotary_blobs_bytes{{{ALL}}}", "{{instance}}")),
        series("Files missing", "Named by messages and not on this node.", "none",
               (f"rotary_blobs_missing{{{ALL}}}", "{{instance}}")),
        series("Files moved", "Uploads, files fetched from other nodes, damaged, removed, and "
               "without room.", "ops",
               (rate("rotary_blob_uploads_total", "result"), "upload {{result}}"),
               (rate("rotary_blobs_fetched_total", "result"), "{{result}}"),
               (rate("rotary_blobs_damaged_total", "cluster"), "damaged"),
               (rate("rotary_blobs_removed_total", "cluster"), "removed"),
               (rate("rotary_blobs_full_total", "cluster"), "no room")),
        series("Age of the newest backup", "Of those that the cluster makes by itself, and the "
               "time that is to be between two.", "s",
               (f"max by (cluster) (rotary_backup_age_seconds{{{ALL}}})", "age"),
               (f"max by (cluster) (rotary_backup_every_seconds{{{ALL}}})", "between two")),
        series("The newest backup took", "Until all of it was read back.", "s",
               (f"max by (cluster) (rotary_backup_seconds{{{ALL}}})", "{{cluster}}")),
        series("The newest backup has", "Bytes of its files.", "bytes",
               (f"max by (cluster) (rotary_backup_bytes{{{ALL}}})", "{{cluster}}")),
        series("Backups that failed", "Attempts, and looks at the store.", "ops",
               (rate("rotary_backup_failures_total", "instance"), "{{instance}}")),
    ]
    about = "Agreement, journals and disks, by shard and node."
    rows = [("Raft", raft), ("Log and journal", logs), ("Disks and files", disks)]
    shard = variable("shard", "Shard", "rotary_raft_term", f"{{{ALL}}}")
    return dashboard("rotary-shards", "Rotary: shards and storage", about, rows, shard)


def floor():
    """Queues, agents, conversations and sessions."""
    queues = [
        series("Waiting", "Conversations in a queue and not on offer.", "none",
               (newest("rotary_queue_waiting", "site, queue"), "{{site}} {{queue}}"), stack=True),
        series("Longest wait", "Seconds that the first in line has waited.", "s",
               (newest("rotary_queue_oldest_wait_seconds", "site, queue"), "{{site}} {{queue}}")),
        series("Agents ready", "Declared ready, with a live session.", "none",
               (newest("rotary_agents_ready", "site"), "{{site}}"), stack=True),
    ]
    conversations = [
        series("What happens", "Commands that were done, by kind.", "ops",
               (rate("rotary_commands_total", "op", f'{ALL}, result="done"'), "{{op}}"),
               stack=True, width=12),
        series("What is refused", "Commands that were refused by the state of things, by kind.",
               "ops", (rate("rotary_commands_total", "op", f'{ALL}, result="refused"'), "{{op}}"),
               stack=True, width=12),
        series("Repeated", "Commands that were recognised as sent before, and got the first "
               "answer again.", "ops",
               (rate("rotary_commands_deduplicated_total", "instance"), "{{instance}}")),
        series("Uncertain", "Commands whose outcome nobody could say in time, or that were "
               "certainly not done.", "ops",
               (rate("rotary_commands_total", "result", f'{ALL}, result=~"unknown|not_applied"'),
                "{{result}}")),
        series("Actors", "Awake, of viewers and of conversations.", "none",
               (f"sum by (kind) (rotary_actors{{{ALL}}})", "{{kind}}"), stack=True),
    ]
    sessions = [
        series("Live sockets", "By kind.", "none",
               (f"sum by (kind) (rotary_sessions{{{ALL}}})", "{{kind}}"), stack=True),
        series("Live sockets by node", "By the core node that serves the session.", "none",
               (f"sum by (instance) (rotary_sessions{{{ALL}}})", "{{instance}}"),
               stack=True),
        series("Begun and resumed", "New ones, resumed with the events missed, and resumed from "
               "a snapshot.", "ops", (rate("rotary_session_resumes_total", "mode"), "{{mode}}"),
               stack=True),
        series("Closed", "Sockets closed by nodes, by code.", "ops",
               (rate("rotary_session_byes_total", "code"), "{{code}}"), stack=True),
        series("Strays", "Sessions that the log believed to be here and that had no socket.", "ops",
               (rate("rotary_session_strays_total", "instance"), "{{instance}}")),
        series("Events to sessions", "Handed over a second.", "ops",
               (rate("rotary_events_delivered_total", "instance"), "{{instance}}"), stack=True),
        series("Read again", "Events read from the journal because a hand-over was full.", "ops",
               (rate("rotary_feed_gaps_total", "instance"), "{{instance}}")),
        series("Mailboxes full", "Messages refused because an actor had too many.", "ops",
               (rate("rotary_mailbox_refusals_total", "kind"), "{{kind}}")),
        series("Actors that failed", "Faults of the software; sessions resume.", "ops",
               (rate("rotary_actor_failures_total", "kind"), "{{kind}}")),
    ]
    about = "Queues, agents, conversations and the sockets through which people see them."
    rows = [("Queues", queues), ("Conversations", conversations), ("Sessions", sessions)]
    site = variable("site", "Site", "rotary_agents_ready", f"{{{ALL}}}")
    return dashboard("rotary-floor", "Rotary: queues and sessions", about, rows, site)


def doors():
    """Gateways, admission and effects."""
    gateways = [
        series("Core nodes reached", "By gateway-only node.", "none",
               (f"rotary_relay_cores{{{ALL}}}", "{{instance}}")),
        series("Sessions through gateways", "By gateway-only node.", "none",
               (f"rotary_relay_sessions{{{ALL}}}", "{{instance}}"), stack=True),
        series("Sessions moved", "That went on through another core node, unnoticed by their "
               "clients.", "ops", (rate("rotary_relay_moves_total", "instance"), "{{instance}}")),
        series("Requests passed on", "By what became of them.", "reqps",
               (rate("rotary_relay_requests_total", "result"), "{{result}}"), stack=True, width=12),
        series("Requests answered", "HTTP requests at every node, by method.", "reqps",
               (rate("rotary_http_requests_total", "method"), "{{method}}"), stack=True, width=12),
    ]
    admission = [
        series("Permits", "Commands that may be on their way to a shard while new work is taken "
               "up. It falls while commands wait too long.", "none",
               (f"rotary_admission_limit{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("On their way", "Commands without an outcome yet.", "none",
               (f"rotary_admission_in_flight{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("Wait", "The shortest wait of a command beyond what a lone one takes; "
               "admission.target_ms is what is aimed at.", "s",
               (f"rotary_admission_wait_seconds{{{SHARD}}}", "{{shard}} {{instance}}")),
        series("Refused", "By what was used up and by class: new work is refused first, what ends "
               "work last.", "ops",
               (rate("rotary_admission_refused_total", "budget, class"), "{{budget}} {{class}}"),
               stack=True, width=12),
        series("Slow commands", "The share that took longer than 150 ms; one in a hundred is what "
               "the alerts allow.", "percentunit",
               ("1 - " + rate("rotary_command_commit_seconds_bucket", "cluster",
                              f'{ALL}, le="0.15"') + " / "
                + rate("rotary_command_commit_seconds_count", "cluster"), "{{cluster}}"),
               width=12),
    ]
    effects = [
        series("Effects that wait", "For their outcomes, by shard.", "none",
               (f"max by (shard) (rotary_effects_pending{{{SHARD}}})", "{{shard}}")),
        series("Webhooks", "Attempts to tell one.", "ops",
               (rate("rotary_webhook_attempts_total", "result"), "{{result}}"), stack=True),
        series("Bots", "Turns that a bot was asked for.", "ops",
               (rate("rotary_bot_turns_total", "result"), "{{result}}"), stack=True),
        series("Mails", "Attempts to send one.", "ops",
               (rate("rotary_mail_attempts_total", "result"), "{{result}}"), stack=True),
        series("Spans of traces", "Sent to the collector, or dropped.", "ops",
               (rate("rotary_spans_total", "result"), "{{result}}"), stack=True),
    ]
    about = "What comes in, what is refused there, and what is told to the outside."
    rows = [("Gateways", gateways), ("Admission", admission), ("Effects", effects)]
    shard = variable("shard", "Shard", "rotary_raft_term", f"{{{ALL}}}")
    return dashboard("rotary-doors", "Rotary: doors and effects", about, rows, shard)


def main():
    check, differ = sys.argv[1:] == ["--check"], []
    if sys.argv[1:] and not check:
        sys.exit("dashboards: --check, or nothing")
    for name, content in (overview(), shards(), floor(), doors()):
        path = FOLDER / f"{name}.json"
        text = json.dumps(content, indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            differ.append(path.name)
        elif not check:
            path.write_text(text)
    if differ:
        sys.exit(f"dashboards: {', '.join(differ)}: run scripts/dashboards.py and commit the files")


if __name__ == "__main__":
    main()
