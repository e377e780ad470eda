/** What layers can't put into a tree: the whole answer of the real program. */
import test from "node:test";
import { oneMachine, refuses } from "../scenario.ts";

test("two layers that write one path are refused, both named", () => {
  refuses(
    { ...oneMachine("a, b"), "layers/a/etc/x": "1", "layers/b/etc/x": "2" },
    [
      "error[collision] layers/b/etc/x: two layers write `etc/x` for machine `m`",
      "  layer `a`: layers/a/etc/x",
      "  layer `b`: layers/b/etc/x",
      "  help: rename one (drop-ins: NN-purpose.conf), or declare `etc/x = a` under [overrides] in layers/b/layer.ini",
    ].join("\n"),
  );
});

test("a template and a file that become one path in one layer are refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x": "1", "layers/a/etc/x.hbs": "2" },
    [
      "error[collision] layers/a/etc/x.hbs: two files write `etc/x` for machine `m`",
      "  layer `a`: layers/a/etc/x",
      "  layer `a`: layers/a/etc/x.hbs",
      "  help: remove or rename one of the two",
    ].join("\n"),
  );
});

test("a folder in one layer and a file in another are refused", () => {
  refuses(
    { ...oneMachine("a, b"), "layers/a/etc/x/y": "1", "layers/b/etc/x": "2" },
    [
      "error[collision] layers/b/etc/x: `etc/x` is a folder in one place and none in another, for machine `m`",
      "  layer `a`: layers/a/etc/x",
      "  layer `b`: layers/b/etc/x",
      "  help: rename one of the two",
    ].join("\n"),
  );
});

test("an override that replaces nothing is refused", () => {
  refuses(
    {
      ...oneMachine("a, b"),
      "layers/a/etc/x": "1",
      "layers/b/etc/y": "2",
      "layers/b/layer.ini": "[overrides]\netc/z = a\n",
    },
    [
      "error[override-unused] layers/b/layer.ini:2:1: layer `b` declares that it overrides `etc/z` of `a`, and does not",
      "  help: correct the path, or drop the line",
    ].join("\n"),
  );
});

test("an override declared by the layer that comes first is refused once", () => {
  refuses(
    {
      ...oneMachine("b, a"),
      "layers/a/etc/x": "1",
      "layers/b/etc/x": "2",
      "layers/b/layer.ini": "[overrides]\netc/x = a\n",
    },
    [
      "error[collision] layers/a/etc/x: two layers write `etc/x` for machine `m`",
      "  layer `b`: layers/b/etc/x",
      "  layer `a`: layers/a/etc/x",
      "  help: rename one (drop-ins: NN-purpose.conf), or declare `etc/x = b` under [overrides] in layers/a/layer.ini",
    ].join("\n"),
  );
});

test("names that would leave /usr/local are refused", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/...hbs": "x",
      "layers/a/lib/!..": { link: "../../../shared" },
      "shared/f": "f",
    },
    [
      "error[bad-path] layers/a/etc/...hbs: `etc/..` can't be part of a tree: it leaves /usr/local",
      "  help: every path of a layer lies below /usr/local; rename it",
      "error[bad-path] layers/a/lib/!..: `lib/..` can't be part of a tree: it leaves /usr/local",
      "  help: every path of a layer lies below /usr/local; rename it",
    ].join("\n"),
  );
});

test("names with nothing left are refused", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/.hbs": "x",
      "layers/a/lib/!": { link: "../../../shared/f" },
      "shared/f": "f",
    },
    [
      "error[bad-path] layers/a/etc/.hbs: `etc/` can't be part of a tree: it has no name left",
      "  help: rename it",
      "error[bad-path] layers/a/lib/!: `lib/` can't be part of a tree: it has no name left",
      "  help: rename it",
    ].join("\n"),
  );
});

test("a relative link that leaves /usr/local is refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/l": { link: "../../etc/passwd" } },
    [
      "error[bad-path] layers/a/etc/l: the link's target leaves /usr/local by `..`: ../../etc/passwd",
      "  help: give the target as an absolute path if that is meant",
    ].join("\n"),
  );
});

test("labctl's own folder is refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/.labctl/x": "x" },
    [
      "error[bad-path] layers/a/.labctl: `.labctl` can't be part of a tree: `.labctl` is labctl's own folder on the machine",
      "  help: rename it",
    ].join("\n"),
  );
});

test("a name with a newline is refused, and can't forge a line of the message", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x\nerror[fake] y": "x" },
    [
      "error[bad-path] layers/a/etc/x\\nerror[fake] y: `etc/x\\nerror[fake] y` can't be part of a tree: its name has a control character (a newline, a tab …)",
      "  help: rename it",
    ].join("\n"),
  );
});

test("a `!` link out of the repository is refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/!x": { link: "/etc/hostname" } },
    [
      "error[deref-outside] layers/a/etc/!x: the link points outside the repository: /etc/hostname",
      "  it leads to /etc/hostname",
      "  help: copy what it points to into the repository; a build reads nothing outside of it",
    ].join("\n"),
  );
});

test("a dangling `!` link is refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/!x": { link: "nowhere" } },
    [
      "error[deref-dangling] layers/a/etc/!x: the `!` link points to nothing: nowhere",
      "  help: correct its target, or remove the link",
    ].join("\n"),
  );
});

test("a `!` link to itself and one to a folder above it are refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/!x": { link: "!x" }, "layers/a/etc/!up": { link: ".." } },
    [
      "error[deref-cycle] layers/a/etc/!up: the `!` link leads back to itself: ..",
      "  help: point it at a folder that does not hold the link",
      "error[deref-cycle] layers/a/etc/!x: the `!` link leads back to itself: !x",
      "  help: point it at a folder that does not hold the link",
    ].join("\n"),
  );
});

test("a layer's folder that is a link out of the repository is refused", () => {
  refuses(
    { ...oneMachine("a"), "layers/a": { link: "/usr/share/misc" } },
    [
      "error[deref-outside] layers/a: the link points outside the repository: /usr/share/misc",
      "  it leads to /usr/share/misc",
      "  help: copy what it points to into the repository; a build reads nothing outside of it",
    ].join("\n"),
  );
});
