import { cleanup, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { Device } from "../../api/types.ts";
import { answerWith, show } from "../../test-utils.tsx";
import { DeviceCard } from "./device-card.tsx";

afterEach(cleanup);

const device = (label: string | null) =>
  ({
    id: "1",
    name: "!abcdef01",
    state: "unknown",
    version: null,
    label,
    heard_by: [],
    conflicts: [],
  }) as unknown as Device;

test("what a device calls itself stands beside its name and not in its place", () => {
  answerWith(() => ({ status: 200, body: { node_id: "1", peers: [] } }));
  show(<DeviceCard device={device("HQ")} series={[]} />);
  expect(screen.getByRole("heading").textContent).toBe("!abcdef01");
  const word = screen.getByText("HQ");
  // Marks that turn the direction of writing must not reach the words around it.
  expect(word.tagName).toBe("BDI");
  expect(word.parentElement?.textContent).toContain("Calls itself “HQ”");
  cleanup();
  show(<DeviceCard device={device(null)} series={[]} />);
  expect(screen.queryByText(/Calls itself/)).toBeNull();
});
