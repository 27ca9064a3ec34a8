// Builds the page into dist/, which the node program embeds; in development it passes the node's own paths through.
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const node = process.env.MUSTER_HTTP ?? "http://127.0.0.1:8080";
const nodePaths = ["/v1", "/session", "/oauth", "/health", "/openapi.json", "/docs", "/metrics"];

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    // Everything comes as a file: the node's content security policy allows no inline code and no data URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(nodePaths.map((path) => [path, { target: node, changeOrigin: false }])),
  },
  test: {
    environment: "happy-dom",
    restoreMocks: true,
  },
});
