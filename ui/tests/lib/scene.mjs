// What the status page is to show: a tenant, two sites, two queues, two agents, and customers.

import { Agent, Api } from "./api.mjs";

const LONG_MS = 3_600_000;
export const QUEUES = { sales: "qu_1", support: "qu_2" };
/** Names are data: in whatever language the page is, they stay what they are. */
export const NAMES = ["Main site", "二号站点", "Sales", "技术支持"];

/** Ana is ready and takes one chat at a time, Bo is not ready. Nobody is served yet. */
export class Scene {
  static async set(cluster) {
    const self = new Scene();
    // Ana, Bo and the customers are with the last node: the first one dies in these tests.
    const node = cluster.nodes.at(-1);
    self.api = new Api(node.url, cluster.token);
    const { tenant } = await self.api.post("/v1/tenants", { name: "acme" });
    self.tenant = tenant;
    self.site = await self.#makeSite(NAMES[0]);
    await self.#makeSite(NAMES[1]);
    const plan = (name) => ({ name, offer_ms: LONG_MS });
    await self.put(`queues/${QUEUES.sales}`, plan(NAMES[2]));
    await self.put(`queues/${QUEUES.support}`, plan(NAMES[3]));
    const capacity = { chat: 1, total: 1 };
    await self.put("agents/ag_1", { name: { text: "Ana" }, capacity });
    await self.put("agents/ag_2", { name: { text: "Bo" }, capacity });
    await self.put("reasons/nr_1", { name: "break" });
    self.ana = await Agent.signIn(self.api, self.site, "ag_1");
    self.bo = await Agent.signIn(self.api, self.site, "ag_2");
    await self.ana.declare("ready");
    await self.bo.declare({ not_ready: { reason: "nr_1" } });
    return self;
  }

  async #makeSite(name) {
    const { site } = await this.api.post("/v1/sites", { tenant: this.tenant, settings: { name } });
    return site;
  }

  put(path, body) {
    return this.api.put(`/v1/sites/${this.site}/${path}`, body);
  }

  /** A customer arrives. */
  open(queue) {
    return this.api.post(`/v1/sites/${this.site}/conversations`, { queue, channel: "chat" });
  }

  token(claims) {
    return this.api.post("/v1/tokens", claims).then(({ token }) => token);
  }

  end() {
    this.ana?.leave();
    this.bo?.leave();
  }
}
