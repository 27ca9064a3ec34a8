export const texts = {
  product: "Muster",
  title: "Sign in",
  lead: "Incidents, resources and sensors of this node. Works without the internet.",
  again: "You were signed out",
  againLead: "Sign in again to go on. What you typed is kept.",
  username: "User name",
  password: "Password",
  submit: "Sign in",
  submitting: "Signing in…",
  wrong: "User name or password is wrong.",
  silent: "The node did not answer. Check that you are on its network, then try again.",
  signOut: "Sign out",
  signOutFailed: "Not signed out: the node did not answer. Try again.",
  connecting: "Looking for the node…",
  unreachable: "This page cannot reach its node",
  unreachableLead:
    "Check that you are on the node's Wi-Fi or cable and that the node has power. Trying again by itself.",
};
