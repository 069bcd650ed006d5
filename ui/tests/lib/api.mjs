// The public API, as a client of the cluster uses it: HTTP with safe retries, and sessions.

import { randomBytes } from "node:crypto";
import { once } from "node:events";

import { WebSocket } from "ws";

import { eventually } from "./eventually.mjs";

/** Speaks to one node with one token. */
export class Api {
  constructor(url, token) {
    Object.assign(this, { url, token });
  }

  get(path) {
    return this.#ask("GET", path);
  }

  put(path, body) {
    return this.#ask("PUT", path, body);
  }

  post(path, body = {}) {
    return this.#ask("POST", path, body);
  }

  // Sent again under the same key while the answer is 503: it is done once.
  async #ask(method, path, body) {
    const headers = { authorization: `Bearer ${this.token}` };
    if (body) headers["content-type"] = "application/json";
    if (body) headers["idempotency-key"] = uuid7();
    const answer = await eventually(`${method} ${path}`, async () => {
      const options = { method, headers, body: body && JSON.stringify(body) };
      const response = await fetch(this.url + path, options);
      const text = await response.text();
      if (response.status === 503) throw new Error(text);
      return { ok: response.ok, text };
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.text}`);
    return JSON.parse(answer.text);
  }
}

/** An agent at a screen: a session that lives until it is closed, and a token for the API. */
export class Agent {
  static async signIn(api, site, agent) {
    const { token } = await api.post("/v1/tokens", { role: "agent", site, agent, ttl_s: 3_600 });
    const self = new Agent();
    Object.assign(self, { agent, site, api: new Api(api.url, token) });
    await self.#connect(token);
    return self;
  }

  async #connect(token) {
    this.socket = new WebSocket(`${this.api.url.replace("http", "ws")}/v1/session`, "rotary.v1");
    const welcome = new Promise((resolve, reject) => {
      this.socket.on("message", (text) => {
        const frame = JSON.parse(text);
        if (frame.type === "hello") this.#beat(frame.heartbeat_ms);
        if (frame.type === "welcome") resolve();
        if (frame.type === "bye") reject(new Error(`${frame.code}: ${frame.detail}`));
      });
      this.socket.on("error", reject);
    });
    await once(this.socket, "open");
    this.socket.send(JSON.stringify({ type: "start", token }));
    await welcome;
  }

  #beat(heartbeatMs) {
    const ping = () => this.socket.send(JSON.stringify({ type: "ping", t: 0 }));
    this.heart = setInterval(ping, heartbeatMs / 2);
  }

  declare(declared) {
    return this.api.put(`/v1/sites/${this.site}/agents/${this.agent}/state`, { declared });
  }

  /** Takes what is offered, once something is; answers which conversation. */
  async acceptNext() {
    const { conversation, offer } = await eventually(`an offer for ${this.agent}`, async () => {
      const { conversations } = await this.api.get(`/v1/sites/${this.site}/agents/${this.agent}`);
      const views = conversations.map((id) => this.api.get(`/v1/conversations/${id}`));
      const offered = (await Promise.all(views)).find((view) => view.stage.offered);
      if (!offered) throw new Error(`none among ${conversations}`);
      return { conversation: offered.conversation, offer: offered.stage.offered.offer };
    });
    await this.api.post(`/v1/conversations/${conversation}/offers/${offer}/accept`);
    return conversation;
  }

  /** The screen goes dark: the socket is lost. */
  leave() {
    clearInterval(this.heart);
    this.socket.terminate();
  }
}

/** A UUIDv7: 48 bits of milliseconds, version, variant, the rest random. */
function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
