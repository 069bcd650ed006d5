// Waiting for conditions, never for time.

import { setTimeout as pause } from "node:timers/promises";

const PATIENCE_MS = 30_000;
const PAUSE_MS = 50;

/** Tries `attempt` until it does not throw; then answers what it answered. */
export async function eventually(what, attempt, patienceMs = PATIENCE_MS) {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) {
        throw new Error(`not within ${patienceMs / 1000} s: ${what}: ${error.message}`, { cause: error });
      }
    }
    await pause(PAUSE_MS);
  }
}
