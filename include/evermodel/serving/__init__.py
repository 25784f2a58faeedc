"""The serving app: answers with each model's champion, and follows promotions without a restart."""
