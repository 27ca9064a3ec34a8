import { cleanup, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { MqttAccount } from "../../api/types.ts";
import { answerWith, type Sent, show } from "../../test-utils.tsx";
import { Accounts } from "./accounts.tsx";

beforeEach(() => sessionStorage.clear());
afterEach(cleanup);

/** A node that keeps accounts as the API says. */
function nodeWith(accounts: MqttAccount[]): Sent[] {
  return answerWith(({ method, path, body }) => {
    const name = decodeURIComponent(path.split("/")[3] ?? "");
    const made = (account: MqttAccount) => ({
      status: 201,
      body: { username: account.name, password: `SECRET${accounts.length}`, publish: [], subscribe: [] },
    });
    if (!path.startsWith("/v1/mqtt-accounts")) return { status: 200, body: { node_id: "1", peers: [] } };
    if (method === "GET") return { status: 200, body: { items: accounts, next: null, since: "1" } };
    if (method === "DELETE") {
      accounts.splice(
        accounts.findIndex((account) => account.name === name),
        1,
      );
      return { status: 200, body: {} };
    }
    const known = accounts.find((account) => account.name === name);
    if (known !== undefined) return made(known);
    const wanted = body as Omit<MqttAccount, "created_at">;
    if (wanted.publish.includes("a#"))
      return { status: 422, body: { errors: [{ pointer: "/publish/0", detail: "expected a topic filter of MQTT" }] } };
    const account = { ...wanted, created_at: "2026-11-22T06:00:00Z" };
    accounts.push(account);
    return made(account);
  });
}

const named = (name: string): MqttAccount => ({ ...lora(), name });

const lora = (): MqttAccount => ({
  name: "lora / north",
  publish: ["buoys/#"],
  subscribe: [],
  created_at: "2026-11-21T10:00:00Z",
});

test("an account is made, and its password is on the screen until somebody says that they have it", async () => {
  const seen = nodeWith([]);
  show(<Accounts />);
  await userEvent.click(await screen.findByRole("button", { name: "Add an account" }));
  await userEvent.type(screen.getByLabelText("Name"), "site");
  await userEvent.type(screen.getByLabelText("May publish"), "pumps/#\n\n zigbee2mqtt/#");
  await userEvent.click(screen.getByRole("button", { name: "Add it" }));
  expect(await screen.findByText("SECRET1")).toBeTruthy();
  expect(seen.find((sent) => sent.method === "POST")?.body).toEqual({
    name: "site",
    publish: ["pumps/#", "zigbee2mqtt/#"],
    subscribe: [],
  });
  const row = await screen.findByRole("listitem");
  expect(within(row).getByText("pumps/# zigbee2mqtt/#")).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "I have it" }));
  expect(screen.queryByText("SECRET1")).toBeNull();
});

test("what the node refuses is said at its field, and what was typed stays", async () => {
  nodeWith([]);
  show(<Accounts />);
  await userEvent.click(await screen.findByRole("button", { name: "Add an account" }));
  await userEvent.type(screen.getByLabelText("Name"), "site");
  await userEvent.click(screen.getByRole("button", { name: "Add it" }));
  expect(screen.getByText("Say what it may publish, or what it may subscribe to.")).toBeTruthy();
  await userEvent.type(screen.getByLabelText("May publish"), "a#");
  await userEvent.click(screen.getByRole("button", { name: "Add it" }));
  expect(await screen.findByText("expected a topic filter of MQTT")).toBeTruthy();
  expect(screen.getByLabelText<HTMLTextAreaElement>("May publish").value).toBe("a#");
});

test("a new password and a removal are asked twice, and name the account", async () => {
  const seen = nodeWith([lora()]);
  show(<Accounts />);
  await userEvent.click(await screen.findByRole("button", { name: "New password for lora / north" }));
  await userEvent.click(screen.getByRole("button", { name: "Make it" }));
  expect(await screen.findByText("SECRET1")).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "Remove the account lora / north" }));
  await userEvent.click(screen.getByRole("button", { name: "Remove it" }));
  expect(await screen.findByText("The account lora / north is gone.")).toBeTruthy();
  const sent = seen.filter((each) => each.method !== "GET").map((each) => `${each.method} ${each.path}`);
  expect(sent).toEqual([
    "POST /v1/mqtt-accounts/lora%20%2F%20north/password",
    "DELETE /v1/mqtt-accounts/lora%20%2F%20north",
  ]);
  expect(await screen.findByText(/^None. Devices sign in/)).toBeTruthy();
});

test("a password that nobody has noted stays while other accounts are changed, and goes with its own", async () => {
  nodeWith([named("a"), named("b"), named("c")]);
  show(<Accounts />);
  const passwordFor = async (name: string) => {
    await userEvent.click(await screen.findByRole("button", { name: `New password for ${name}` }));
    await userEvent.click(screen.getByRole("button", { name: "Make it" }));
  };
  const remove = async (name: string) => {
    await userEvent.click(screen.getByRole("button", { name: `Remove the account ${name}` }));
    await userEvent.click(screen.getByRole("button", { name: "Remove it" }));
    await screen.findByText(`The account ${name} is gone.`);
  };
  await passwordFor("a");
  expect(await screen.findByText("SECRET3")).toBeTruthy();
  await remove("b");
  expect(screen.getByText("SECRET3")).toBeTruthy();
  await passwordFor("c");
  expect(await screen.findByText("SECRET2")).toBeTruthy();
  await passwordFor("c");
  expect(screen.getAllByText(/^SECRET/).map((each) => each.textContent)).toEqual(["SECRET3", "SECRET2"]);
  await remove("c");
  expect(screen.getAllByText(/^SECRET/).map((each) => each.textContent)).toEqual(["SECRET3"]);
  await userEvent.click(screen.getByRole("button", { name: "I have it" }));
  expect(screen.queryByText(/^SECRET/)).toBeNull();
});
