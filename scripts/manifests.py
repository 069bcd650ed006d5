#!/usr/bin/env python3
"""Checks the Kubernetes manifests, and prints the configuration that is in them.

    scripts/manifests.py config/packaging/kubernetes/*.yaml >rotary.toml

What `kubectl apply` would refuse only on a cluster, or never: names that must agree, probes that
are routes, ports and protocols, what must not run as root. Needs Python's yaml.
"""

import pathlib
import sys
import tomllib

import yaml


def need(holds, what):
    if not holds:
        sys.exit(f"manifests: {what}")


def read(paths):
    """Every object, by kind and name."""
    found = {}
    for path in paths:
        for each in yaml.safe_load_all(pathlib.Path(path).read_text()):
            key = (each["kind"], each["metadata"]["name"])
            need(key not in found, f"{path}: {key} is there twice")
            namespace = each["metadata"].get("namespace")
            need(each["kind"] == "Namespace" or namespace == "rotary", f"{key}: its namespace")
            found[key] = each
    return found


def check_services(found, config, pods):
    """Peers of the configuration are the services' addresses, over UDP, ready or not."""
    for at, peer in enumerate(config["cluster"]["peers"]):
        spec = found["Service", f"rotary-{at}"]["spec"]
        kinds = ((p["name"], p["port"], p.get("protocol", "TCP")) for p in spec["ports"])
        ports = {name: (port, kind) for name, port, kind in kinds}
        need(ports == {"public": (7080, "TCP"), "peer": (7082, "UDP")}, f"ports of rotary-{at}")
        need(peer["peer"] == f"{spec['clusterIP']}:7082", f"the address of rotary-{at}")
        need(peer["public"] == f"http://{spec['clusterIP']}:7080", f"the URL of rotary-{at}")
        pod = spec["selector"]["statefulset.kubernetes.io/pod-name"]
        need(pod == f"rotary-{at}" and spec["publishNotReadyAddresses"], f"the pod of rotary-{at}")
    headless = found["Service", "rotary-nodes"]["spec"]
    need(headless["clusterIP"] == "None", "rotary-nodes is headless")
    for name in ("rotary", "rotary-nodes"):
        selector = found["Service", name]["spec"]["selector"]
        need(selector.items() <= pods.items(), f"whom {name} selects")


def check_set(found, config, spec):
    """Stable identities, probes that are routes, a drain, and nothing as root."""
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    need(spec["selector"]["matchLabels"] == labels, "the set selects its own pods")
    need(("Service", spec["serviceName"]) in found, "the set's service")
    need(spec["replicas"] == len(config["cluster"]["peers"]), "as many pods as peers")
    need(spec["podManagementPolicy"] == "Parallel", "nodes start together")
    need(pod["securityContext"]["runAsNonRoot"], "pods do not run as root")
    claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    volumes = claims | {volume["name"] for volume in pod["volumes"]}
    for container in pod["initContainers"] + pod["containers"]:
        name, security = container["name"], container["securityContext"]
        need(not security["allowPrivilegeEscalation"], f"{name} gains no privilege")
        need(security["readOnlyRootFilesystem"], f"{name} writes to its volumes only")
        for mount in container["volumeMounts"]:
            need(mount["name"] in volumes, f"{name}: the volume {mount['name']}")
    [node] = pod["containers"]
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        need(node[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "admin"}, f"{probe} probe")
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    need(config["listen"]["admin"] == f"0.0.0.0:{ports['admin']}", "the address of the probes")
    scraped = spec["template"]["metadata"]["annotations"]["prometheus.io/port"]
    need(scraped == str(ports["admin"]), "what Prometheus scrapes")
    stop = " ".join(node["lifecycle"]["preStop"]["exec"]["command"])
    need("node drain" in stop and "timeout 120" in stop, "a pod is drained before it stops")
    need(pod["terminationGracePeriodSeconds"] > 120 + 10, "time to drain and to stop")
    hosts = pod["affinity"]["podAntiAffinity"]
    kinds = ("requiredDuringSchedulingIgnoredDuringExecution", "kubernetes.io/hostname")
    need(hosts[kinds[0]][0]["topologyKey"] == kinds[1], "one node to a machine")
    budget = found["PodDisruptionBudget", "rotary"]["spec"]
    need(budget["maxUnavailable"] == 1, "one node at a time")
    need(budget["selector"]["matchLabels"] == labels, "the budget is for these pods")
    return labels


def main():
    found = read(sys.argv[1:])
    text = found["ConfigMap", "rotary"]["data"]["rotary.toml"]
    config = tomllib.loads(text)
    spec = found["StatefulSet", "rotary"]["spec"]
    pods = check_set(found, config, spec)
    check_services(found, config, pods)
    # `node.id` comes from the volume; a number makes the file one that can be checked.
    print(text.replace("[node]", "[node]\nid = 1", 1), end="")


if __name__ == "__main__":
    main()
