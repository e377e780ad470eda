/** Rule sets that let the pusher in, and such that do not: what the machine's own trial must tell apart. Data only. */

/** The pusher's address and the machine's in these rules; the link between them is `host0`. */
export const PUSHER = "10.97.0.1";

const chain = (policy: string, ...rules: string[]): string =>
  `table inet t\ndelete table inet t\ntable inet t {\n  set good { type ipv4_addr; flags interval; elements = { 10.97.0.0/24 }; }\n  chain input {\n    type filter hook input priority 0; policy ${policy};\n${rules.map((rule) => `    ${rule}\n`).join("")}  }\n}\n`;
const OPEN = "ct state established,related accept";

export const CUTTING: readonly string[] = [
  chain("drop"),
  chain("drop", OPEN),
  chain("drop", OPEN, "tcp dport 2222 accept"),
  chain("drop", OPEN, "udp dport 22 accept"),
  chain("drop", OPEN, "ip saddr 192.0.2.0/24 tcp dport 22 accept"),
  chain("drop", OPEN, "ip saddr != @good tcp dport 22 accept"),
  chain("drop", OPEN, 'iifname "eth9" tcp dport 22 accept'),
  chain("drop", OPEN, "ip6 saddr ::/0 tcp dport 22 accept"),
  chain("drop", OPEN, "tcp sport 22 accept"),
  chain("drop", OPEN, "ip daddr 192.0.2.1 tcp dport 22 accept"),
  chain("accept", "tcp dport 22 drop"),
  chain("accept", "tcp dport 22 reject"),
  chain("accept", "tcp dport 22 reject with tcp reset"),
  chain("accept", "tcp dport 1-1023 drop", "tcp dport 22 accept"),
  chain("accept", `ip saddr ${PUSHER} drop`),
  chain("accept", "ct state new drop"),
  chain("accept", 'iifname "host0" drop'),
  `${chain("accept")}table inet u {\n  chain o {\n    type filter hook output priority 0; policy accept;\n    tcp sport 22 drop\n  }\n}\n`,
  `${chain("accept")}table inet u {\n  chain p {\n    type filter hook prerouting priority -300; policy accept;\n    tcp dport 22 drop\n  }\n}\n`,
  `${chain("drop", OPEN, "tcp dport 22 accept")}table inet u {\n  chain i {\n    type filter hook input priority 10; policy drop;\n  }\n}\n`,
];

export const KEEPING: readonly string[] = [
  chain("accept"),
  chain("drop", "accept"),
  chain("drop", OPEN, "tcp dport 22 accept"),
  chain("drop", OPEN, "tcp dport { 22, 80, 443 } accept"),
  chain("drop", OPEN, "tcp dport 20-25 accept"),
  chain("drop", OPEN, "ip saddr 10.97.0.0/24 tcp dport 22 accept"),
  chain("drop", OPEN, `ip saddr ${PUSHER} accept`),
  chain("drop", OPEN, "ip saddr @good tcp dport 22 accept"),
  chain("drop", OPEN, 'iifname "host0" tcp dport 22 accept'),
  chain("drop", OPEN, 'iif "host0" tcp dport 22 accept'),
  chain("drop", OPEN, "meta l4proto tcp th dport 22 ct state new accept"),
  chain("drop", OPEN, "meta l4proto . th dport { tcp . 22 } accept"),
  chain("drop", "tcp dport vmap { 22 : accept, 23 : drop }"),
  chain("drop", OPEN, "tcp dport 22 limit rate 10/minute accept"),
  chain("drop", OPEN, 'tcp dport 22 counter log prefix "ssh: " accept'),
  chain("accept", "tcp dport 2222 drop"),
  chain("accept", "ct state invalid drop", "ip saddr 192.0.2.0/24 drop"),
  chain("accept", "udp dport 22 drop", 'iifname "eth9" drop'),
  `table inet t {\n  chain more {\n    tcp dport 22 accept\n  }\n}\ntable inet t {\n  chain input {\n    type filter hook input priority 0; policy drop;\n    jump more\n    ${OPEN}\n  }\n}\n`,
  `${chain("drop", OPEN, "tcp dport 22 accept")}table inet u {\n  chain f {\n    type filter hook forward priority 0; policy drop;\n  }\n}\n`,
];

/** The same for a pusher that came by IPv6, without whose neighbour discovery nothing arrives. */
export const PUSHER_SIX = "fd97::1";
const NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

export const CUTTING_SIX: readonly string[] = [
  chain("drop", OPEN, NEIGHBOURS),
  chain("drop", OPEN, NEIGHBOURS, "ip saddr 0.0.0.0/0 tcp dport 22 accept"),
  chain("drop", OPEN, "tcp dport 22 accept"),
  chain("accept", `ip6 saddr ${PUSHER_SIX} drop`),
];

export const KEEPING_SIX: readonly string[] = [
  chain("accept", "ip saddr 0.0.0.0/0 drop"),
  chain("drop", OPEN, NEIGHBOURS, "tcp dport 22 accept"),
  chain("drop", OPEN, NEIGHBOURS, "ip6 saddr fd97::/64 tcp dport 22 accept"),
];
