import { cleanup, screen } from "@testing-library/react";
import { Route, Routes } from "react-router";
import { afterEach, expect, test } from "vitest";
import { answerWith, show } from "../../test-utils.tsx";
import { DeviceByName } from "./device-page.tsx";

afterEach(cleanup);

function openNamed(name: string, items: object[]) {
  const asked = answerWith(() => ({ status: 200, body: { items, next: null } }));
  show(
    <Routes>
      <Route path="/devices/named/:name" element={<DeviceByName />} />
      <Route path="/devices/:id" element={<h1>Its page</h1>} />
    </Routes>,
    `/devices/named/${name}?channel=level`,
  );
  return asked;
}

test("a device that was heard here is shown on its page, although nobody has approved it", async () => {
  const asked = openNamed("gauge-7", [{ id: "7", name: "gauge-7", state: "unknown", version: null }]);
  await screen.findByText("Its page");
  expect(asked.map(({ path }) => path)).toEqual(["/v1/devices?name=gauge-7&limit=1"]);
});

test("one that this node does not know is said to be so, with a way on", async () => {
  openNamed("gauge-7", []);
  await screen.findByText("This node does not know gauge-7");
  expect(screen.getByRole("link", { name: "All devices" }).getAttribute("href")).toBe("/devices");
  expect(screen.queryByText(/another node has/)).toBeNull();
});
