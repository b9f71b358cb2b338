/* SPDX-License-Identifier: MPL-2.0 */
/* Sticky sources against the kernel's routing (P-348, PITFALLS 66 and 85). */
#include <stdlib.h>

#include "device/endpoint_of.h"
#include "io/net_fixture.h"
#include "tun/route.h"

static struct route_monitor monitor;

static void open_all(void)
{
	fixture_enter_netns();
	fixture_run("ip link add a0 type veth peer name a1; ip link add b0 type veth peer name b1;"
		    "for i in a0 a1 b0 b1; do ip link set $i up; done;"
		    "ip addr add 192.0.2.1/24 dev a0; ip addr add 198.51.100.1/24 dev b0;"
		    "ip addr add 2001:db8::1/64 dev a0 nodad");
	cr_assert(eq(int, route_monitor_open(&monitor), 0));
}

Test(route, hears_of_addresses_and_routes)
{
	open_all();
	(void)route_monitor_read(&monitor);
	cr_assert(not(route_monitor_read(&monitor)));
	fixture_run("ip addr add 192.0.2.2/24 dev a0");
	cr_assert(route_monitor_read(&monitor));
	cr_assert(not(route_monitor_read(&monitor)));
	fixture_run("ip route add 203.0.113.0/24 via 192.0.2.9");
	cr_assert(route_monitor_read(&monitor));
	fixture_run("ip addr del 2001:db8::1/64 dev a0");
	cr_assert(route_monitor_read(&monitor));
	fixture_run("ip -6 rule add fwmark 5 lookup 77");
	cr_assert(route_monitor_read(&monitor));
	route_monitor_close(&monitor);
}

Test(route, ipv4_source_holds_while_its_route_does)
{
	open_all();
	struct endpoint e = endpoint_of("192.0.2.9", "192.0.2.1", if_nametoindex("a0"));
	cr_assert(route_source_holds(&monitor, &e, 0));
	e.from_ifindex = if_nametoindex("b0");
	cr_assert(not(route_source_holds(&monitor, &e, 0)), "came in by another interface");
	e.from_ifindex = if_nametoindex("a0");
	fixture_run("ip route add 192.0.2.9/32 via 198.51.100.9");
	cr_assert(not(route_source_holds(&monitor, &e, 0)), "the route moved");
	fixture_run("ip route add 192.0.2.9/32 dev a0 table 77; ip rule add fwmark 5 lookup 77");
	cr_assert(route_source_holds(&monitor, &e, 5), "not for this mark");
	fixture_run("ip addr del 192.0.2.1/24 dev a0; ip addr add 192.0.2.3/24 dev a0");
	cr_assert(not(route_source_holds(&monitor, &e, 5)), "the address is gone");
}

Test(route, ipv6_source_holds_while_the_address_exists)
{
	open_all();
	struct endpoint e = endpoint_of("2001:db8::9", "2001:db8::1", if_nametoindex("a0"));
	cr_assert(route_source_holds(&monitor, &e, 0));
	e.from_ifindex = if_nametoindex("b0");
	cr_assert(route_source_holds(&monitor, &e, 0), "IPv6 does not look at the interface");
	fixture_run("ip addr del 2001:db8::1/64 dev a0");
	cr_assert(not(route_source_holds(&monitor, &e, 0)));
}

Test(route, ipv4_source_outlives_a_missing_route)
{
	open_all();
	struct endpoint e = endpoint_of("203.0.113.1", "192.0.2.1", if_nametoindex("a0"));
	cr_assert(route_source_holds(&monitor, &e, 0));
	fixture_run("ip addr del 192.0.2.1/24 dev a0");
	cr_assert(not(route_source_holds(&monitor, &e, 0)));
}

Test(route, no_source_always_holds)
{
	open_all();
	struct endpoint e = endpoint_of("203.0.113.1", "0.0.0.0", if_nametoindex("a0"));
	cr_assert(route_source_holds(&monitor, &e, 0));
}
