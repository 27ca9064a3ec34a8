// Builds the page into dist/, which the node program embeds; in development it passes the node's own paths through.
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { ProxyOptions } from "vite";
import { defineConfig } from "vitest/config";

const node = process.env.MUSTER_HTTP ?? "http://127.0.0.1:8080";
const nodePaths = ["/v1", "/session", "/oauth", "/health", "/openapi.json", "/docs", "/metrics"];

/** A node that is not there is a gateway's 502 to the page, not a fault of the node. */
const answerForTheSilent: ProxyOptions["configure"] = (proxy) => {
  proxy.on("error", (_error, _request, response) => {
    if ("writeHead" in response && !response.headersSent) response.writeHead(502).end();
  });
};

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    // Everything comes as a file: the node's content security policy allows no inline code and no data URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // One file on purpose: a page that is open goes on working when the node behind it has lost its power.
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: Object.fromEntries(nodePaths.map((path) => [path, { target: node, configure: answerForTheSilent }])),
  },
  test: {
    environment: "happy-dom",
    restoreMocks: true,
  },
});
