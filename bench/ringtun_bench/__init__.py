# SPDX-License-Identifier: MPL-2.0
"""ringtun-bench: compares WireGuard implementations fairly and shows the result in pictures."""

VERSION = "0.1.0"
