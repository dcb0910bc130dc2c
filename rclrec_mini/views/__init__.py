"""Figures, from results to pictures."""

from rclrec_mini.views.style import use

use()
