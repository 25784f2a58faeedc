"""Messages to people: what they say, how they look, and where they wait when there is no Slack."""
