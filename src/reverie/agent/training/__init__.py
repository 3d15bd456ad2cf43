"""What training is made of: returns, running statistics, the optimizer and its loss scale."""
