"""Ways to people and programs that want to hear of alerts: e-mail, signed webhooks, and whatever Apprise knows."""
