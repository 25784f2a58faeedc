"""Evidence for people: the decision page, the model card, and the numbers behind them."""
