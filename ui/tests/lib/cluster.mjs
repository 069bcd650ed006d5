// A real cluster of three nodes, with a gateway-only one before it, in a temporary folder: each node a process, each a child of the
// test. Nothing here knows of the status page.

import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { eventually } from "./eventually.mjs";

const NODES = 3;
const GATEWAYS = 1;
const SHARDS = 2;
const BINARY_DEFAULT = fileURLToPath(new URL("../../../target/debug/rotary", import.meta.url));

export class Cluster {
  /** Makes the cluster's folders and starts every node; answers once every node is ready. */
  static async start() {
    const cluster = new Cluster();
    try {
      await cluster.#make();
      const all = [...cluster.nodes, ...cluster.gateways];
      await Promise.all(all.map((node) => node.start()));
      await Promise.all(all.map((node) => node.ready()));
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  async #make() {
    this.binary = process.env.ROTARY_BIN ?? BINARY_DEFAULT;
    if (!existsSync(this.binary)) {
      throw new Error(`${this.binary} is not there: build it, or name another in ROTARY_BIN`);
    }
    this.folder = mkdtempSync(path.join(tmpdir(), "rotary-ui-"));
    const base = await freePorts();
    const args = ["cluster", "init", "--dir", this.folder, "--nodes", NODES, "--gateways", GATEWAYS,
      "--shards", SHARDS,
      "--base-port", base, "--output", "json"];
    const made = spawnSync(this.binary, args.map(String), { encoding: "utf8" });
    if (made.status !== 0) throw new Error(`cluster init: ${made.stderr}`);
    const { token, nodes, gateways } = JSON.parse(made.stdout);
    this.token = token;
    [this.nodes, this.gateways] = [nodes, gateways].map((all) => all.map((node) => new Node(this.binary, node)));
  }

  /** Kills every node and forgets the folder; keeps it, and says so, if ROTARY_UI_KEEP is set. */
  async stop() {
    const all = [...(this.nodes ?? []), ...(this.gateways ?? [])];
    await Promise.all(all.map((node) => node.kill()));
    if (process.env.ROTARY_UI_KEEP) console.log(`kept: ${this.folder}`);
    else if (this.folder) rmSync(this.folder, { recursive: true, force: true });
  }
}

class Node {
  #child;

  constructor(binary, { config, url }) {
    Object.assign(this, { binary, config, url });
  }

  async start() {
    const log = openSync(path.join(path.dirname(this.config), "stderr.log"), "a");
    const args = ["server", "--config", this.config, "--exit-with-stdin"];
    this.#child = spawn(this.binary, args, { stdio: ["pipe", "ignore", log] });
    // A node that is killed takes the pipe with it; that is no fault of the test.
    this.#child.stdin.on("error", () => {});
    await once(this.#child, "spawn");
  }

  /** Until every shard has a leader, as this node sees it. */
  async ready() {
    await eventually(`${this.url} is ready`, async () => {
      if (this.#child.exitCode !== null) throw new Error(this.#lastWords());
      const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(2_000) });
      if (!response.ok) throw new Error(await response.text());
    });
  }

  /** As `kill -9` does it. */
  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Alive, and deaf and dumb, until it goes on. */
  hang() {
    this.#child.kill("SIGSTOP");
  }

  goOn() {
    this.#child.kill("SIGCONT");
  }

  #lastWords() {
    const log = path.join(path.dirname(this.config), "stderr.log");
    return `the node ended: ${readFileSync(log, "utf8").slice(-2_000)}`;
  }
}

// Node N takes base + 10 (N - 1) for clients (TCP) and that + 2 for its peers (UDP). The search
// stays below the ports that the system gives to outgoing connections.
async function freePorts() {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const base = 10_000 + 100 * Math.floor(Math.random() * 200);
    const places = [...Array(NODES + GATEWAYS).keys()].map((node) => base + 10 * node);
    const free = await Promise.all(places.flatMap((port) => [freeTcp(port), freeUdp(port + 2)]));
    if (free.every(Boolean)) return base;
  }
  throw new Error("no free ports between 10000 and 30000");
}

function freeTcp(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function freeUdp(port) {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.once("error", () => socket.close(() => resolve(false)));
    socket.bind(port, "127.0.0.1", () => socket.close(() => resolve(true)));
  });
}
