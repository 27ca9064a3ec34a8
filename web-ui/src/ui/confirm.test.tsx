import { cleanup, render, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";
import { Confirm } from "./confirm.tsx";

afterEach(cleanup);

test("one press asks, the second does it, and the keyboard follows the question", async () => {
  const onConfirm = vi.fn();
  render(
    <Confirm question="Delete the rule?" confirm="Delete it" onConfirm={onConfirm}>
      Delete
    </Confirm>,
  );
  await userEvent.click(screen.getByRole("button", { name: "Delete" }));
  expect(screen.getByRole("alert").textContent).toContain("Delete the rule?");
  expect(document.activeElement).toBe(screen.getByRole("button", { name: "Cancel" }));
  await userEvent.keyboard("{Enter}");
  expect(onConfirm).not.toHaveBeenCalled();
  expect(document.activeElement).toBe(screen.getByRole("button", { name: "Delete" }));
  await userEvent.keyboard("{Enter}");
  await userEvent.click(screen.getByRole("button", { name: "Delete it" }));
  expect(onConfirm).toHaveBeenCalledOnce();
});
