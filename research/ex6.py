from merge import *
f=sys.argv[1]; rounds=int(sys.argv[2]); frac=float(sys.argv[3]); ep=float(sys.argv[4]); lr=float(sys.argv[5]); wd=float(sys.argv[6]); aug=int(sys.argv[7]); last=int(sys.argv[8])
sd,lab=torch.load(f); k=int(lab.max())+1; h=sd["fc1.weight"].shape[0]
r=mnist_mlp(hidden=(h,),init="torch"); r.fc1=nn.Linear(k,h); r.load_state_dict(sd)
im=X.view(-1,28,28); sh=[(a,b) for a in (-1,0,1) for b in (-1,0,1)] if aug else [(0,0)]
def roll(a,b): return F.pad(im,(1,1,1,1))[:,1+a:29+a,1+b:29+b].reshape(-1,784)
class Aug:
    def __init__(s,lab): s.Z=torch.stack([gsum(roll(a,b),lab) for a,b in sh])
    def __len__(s): return len(X)
    def __getitem__(s,i): return s.Z[torch.randint(len(sh),(len(i),)),i]
def rep(tag): print(tag,"val",round(acc(r,gsum(XV,lab),YV),2),"test",round(acc(r,gsum(XT,lab),YT),2),"kept",int((lab>=0).sum()),round(time.time()-t),flush=True)
t=time.time(); rep("start")
g=torch.Generator().manual_seed(0)
def sens(lab,n=20000):
    i=torch.randperm(len(X),generator=g)[:n]; a,b=sh[int(torch.randint(len(sh),(1,)))]
    x=(F.pad(im[i],(1,1,1,1))[:,1+a:29+a,1+b:29+b].reshape(-1,784)); z=gsum(x,lab)
    r.eval(); pre=r.fc1(z).detach().requires_grad_(True)
    out=r.fc2(r.bn1(r.relu1(pre))); F.cross_entropy(out,Y[i],reduction="sum").backward()
    d=pre.grad
    # GN: H = J^T (diag p - pp^T) J approximated by sampled labels
    pre2=pre.detach().requires_grad_(True); out=r.fc2(r.bn1(r.relu1(pre2))); ys=torch.distributions.Categorical(logits=out.detach()).sample()
    F.cross_entropy(out,ys,reduction="sum").backward(); d2=pre2.grad
    return x,d,d2
for rd in range(rounds):
    x,d,d2=sens(lab); n=len(x)
    G=x.t()@d/n                                   # 784×h
    W=torch.cat([r.fc1.weight.detach().t(),torch.zeros(1,h)])  # k+1 × h; last: none
    P=d2@W.t()                                    # n × (k+1): delta·w_b
    own=torch.where(lab>=0,lab,torch.full_like(lab,k))
    lin=G@W.t(); lin=lin-lin.gather(1,own[:,None])
    # quadratic: E[x_p² (P_b - P_a)²] = E[x²P_b²] -2E[x²P_aP_b]+E[x²P_a²]
    x2=x*x; A=x2.t()@(P*P)/n
    cross=torch.empty_like(A)
    for a in own.unique():
        m=own==a; cross[m]=(x2[:,m].t()@(P*P[:,a:a+1]))/n
    quad=A-2*cross+A.gather(1,own[:,None])
    delta=lin+0.5*quad*2.0
    best,to=delta.min(1); 
    order=best.argsort(); nm=int((best<0).sum()); take=order[:min(int(frac*784),nm)]
    lab=lab.clone(); lab[take]=torch.where(to[take]==k,torch.full_like(to[take],-1),to[take])
    # keep labels contiguous
    u=torch.bincount(lab[lab>=0],minlength=k)
    for e in (u==0).nonzero().flatten().tolist():
        gain=(G**2).sum(1)/x2.mean(0).clamp_min(1e-3); big=torch.bincount(lab[lab>=0],minlength=k)
        gain[(lab>=0)&(big[lab.clamp_min(0)]<2)]=-1
        p=int(gain.argmax()); 
        with torch.no_grad(): r.fc1.weight[:,e]=r.fc1.weight[:,lab[p]] if lab[p]>=0 else 0
        lab[p]=e; print("reseed",e,p)
    A_=Aug(lab)
    fit(r,max(1,int(ep)),lr,wd=wd,x=A_,seed=rd,sched="const")
    if rd%5==4: rep(f"round {rd+1} moves possible {nm} pred {best[take].sum():.4f}")
fit(r,last,lr,wd=wd,x=Aug(lab),seed=99); rep("final")
torch.save((r.state_dict(),lab),"re_"+f)
